"""A linear layer for any leading shape."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["Linear", "affine_product", "flat_product"]


class Linear(eqx.Module):
    r"""A linear layer :math:`y = W x + b`, any leading shape.

    Entries start uniform in :math:`\pm 1 / \sqrt{n}` with ``n`` inputs. Larger hidden
    weights learn tables of some hundred rows by heart sooner.

    Args:
        rng_key: random key.
        input_dim: size of the last dimension of the input.
        output_dim: size of the last dimension of the output.
        use_bias: whether there is a ``b``.
        zero_init: whether the layer starts at zero.
        init_scale: factor of the starting weights.
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
        init_scale: float = 1.0,
    ):
        shape = (output_dim, input_dim)
        if zero_init:
            self.weight = jnp.zeros(shape)
            self.bias = jnp.zeros(output_dim) if use_bias else None
        else:
            bound = 1.0 / math.sqrt(max(input_dim, 1))
            weight_key, bias_key = jax.random.split(rng_key)
            weight = jax.random.uniform(weight_key, shape, minval=-bound, maxval=bound)
            self.weight = init_scale * weight
            self.bias = None
            if use_bias:
                self.bias = jax.random.uniform(bias_key, shape[:1], minval=-bound, maxval=bound)

    def __call__(self, x: Array) -> Array:
        y = flat_product(x, self.weight.T)
        return y if self.bias is None else y + self.bias


def flat_product(x: Array, matrix: Array) -> Array:
    """Return ``x @ matrix`` for any leading shape, as one product of two matrices.

    The gradient of the matrix is then one product too, where that of a product with more axes has
    to move the axes of ``x`` first.
    """
    if x.ndim < 3:
        return x @ matrix
    y = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ matrix
    return y.reshape(*x.shape[:-1], matrix.shape[-1])


def affine_product(x: Array, weight: Array, bias: Array) -> Array:
    """Return ``x @ weight.T + bias`` as one matrix product, of inputs that end in a one.

    The compiler keeps the outcome of a product, where it would repeat an addition inside whatever
    reads it, many times for a spline, and its gradient needs no sum over the batch.
    """
    x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
    return x @ jnp.concatenate([weight, bias[:, None]], -1).T
