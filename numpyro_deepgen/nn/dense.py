"""Fully connected networks."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
from jax import Array

from .._numerics.checks import check_dims, check_positive_int
from ..ops._random import check_rng_key
from ._linear import Linear, affine_product
from .activations import activation_function

__all__ = ["Dense"]


class Dense(eqx.Module):
    r"""A multilayer perceptron :math:`x \mapsto W_L \sigma(\ldots \sigma(W_0 x + b_0)) + b_L`.

    Args:
        rng_key: random key of the starting weights.
        input_dim: size of the last dimension of the input.
        output_dim: size of the last dimension of the output.
        hidden_dims: widths of the hidden layers; empty gives one linear layer.
        activation: ``'silu'``, ``'relu'``, ``'tanh'``, ``'elu'``, ``'gelu'``, ``'softplus'`` or a
            callable.
        zero_init: whether the last layer starts at zero, so that the output does.
        final_bias: whether the last layer has a bias.

    Shape:
        ``batch_shape + (input_dim,)`` to ``batch_shape + (output_dim,)``, any ``batch_shape``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> Dense(jax.random.key(0), 3, 2, hidden_dims=(8,))(jnp.zeros((5, 4, 3))).shape
        (5, 4, 2)
    """

    layers: tuple[Linear, ...]
    input_dim: int = eqx.field(static=True)
    output_dim: int = eqx.field(static=True)
    activation: str | Callable = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        zero_init: bool = False,
        final_bias: bool = True,
    ):
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.output_dim = check_positive_int("output_dim", output_dim)
        activation_function(activation)
        self.activation = activation
        dims = (self.input_dim, *check_dims("hidden_dims", hidden_dims), self.output_dim)
        last = len(dims) - 2
        keys = jax.random.split(check_rng_key(rng_key), last + 1)
        self.layers = tuple(
            Linear(
                keys[i],
                dims[i],
                dims[i + 1],
                use_bias=final_bias or i < last,
                zero_init=zero_init and i == last,
            )
            for i in range(last + 1)
        )

    def __call__(self, x: Array) -> Array:
        activation = activation_function(self.activation)
        for layer in self.layers[:-1]:
            x = activation(layer(x))
        last = self.layers[-1]
        return last(x) if last.bias is None else affine_product(x, last.weight, last.bias)
