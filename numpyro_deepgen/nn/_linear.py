"""A linear layer for any leading shape."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["Linear", "affine_product"]


class Linear(eqx.Module):
    r"""A linear layer :math:`y = W x + b`, any leading shape.

    Entries start uniform in :math:`\pm 1 / \sqrt{n}`, ``n`` inputs a unit. Weights behind an
    activation get the variance :math:`1 / n`, a factor :math:`\sqrt 3` more: activations shrink a
    signal, and where several layers do so a network starts as a linear one.

    Args:
        rng_key: random key.
        input_dim: size of the last dimension of the input.
        output_dim: size of the last dimension of the output.
        use_bias: whether there is a ``b``.
        zero_init: whether the layer starts at zero.
        follows_activation: whether its inputs are activations of hidden units.
        fan_in: number ``n`` of inputs of each unit, ``(output_dim,)``, where a mask hides some.
    """

    weight: Array
    bias: Array | None

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        output_dim: int,
        use_bias: bool = True,
        zero_init: bool = False,
        follows_activation: bool = False,
        fan_in: np.ndarray | None = None,
    ):
        shape = (output_dim, input_dim)
        if zero_init:
            self.weight = jnp.zeros(shape)
            self.bias = jnp.zeros(output_dim) if use_bias else None
        else:
            fan_in = np.full(output_dim, input_dim) if fan_in is None else np.maximum(fan_in, 1)
            bound = jnp.asarray(1.0 / np.sqrt(fan_in))
            factor = math.sqrt(3.0) if follows_activation else 1.0
            weight_key, bias_key = jax.random.split(rng_key)
            weight = jax.random.uniform(weight_key, shape, minval=-1.0, maxval=1.0)
            self.weight = weight * (factor * bound[:, None])
            self.bias = None
            if use_bias:
                self.bias = jax.random.uniform(bias_key, shape[:1], minval=-1.0, maxval=1.0) * bound

    def __call__(self, x: Array) -> Array:
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


def affine_product(x: Array, weight: Array, bias: Array) -> Array:
    """Return ``x @ weight.T + bias`` as one matrix product, of inputs that end in a one.

    The compiler keeps the outcome of a product, where it would repeat an addition inside whatever
    reads it, many times for a spline, and its gradient needs no sum over the batch.
    """
    x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
    return x @ jnp.concatenate([weight, bias[:, None]], -1).T
