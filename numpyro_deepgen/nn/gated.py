"""Gated networks."""

from collections.abc import Sequence

import equinox as eqx
import jax
from jax import Array

from .._numerics.checks import check_dims, check_positive_int
from ..ops._random import check_rng_key
from ._linear import Linear
from .convolution import Conv, ConvTranspose

__all__ = ["GatedConv", "GatedDense"]


class GatedDense(eqx.Module):
    r"""Hidden layers :math:`h \mapsto (W h + b) \odot \sigma(V h + c)`, and a linear layer.

    Args:
        rng_key: random key of the starting weights.
        input_dim: size of the last dimension of the input.
        output_dim: size of the last dimension of the output.
        hidden_dims: widths of the hidden layers.

    Shape:
        ``batch_shape + (input_dim,)`` to ``batch_shape + (output_dim,)``, any ``batch_shape``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> GatedDense(jax.random.key(0), 3, 2, hidden_dims=(8,))(jnp.zeros((5, 4, 3))).shape
        (5, 4, 2)

    References:
        Dauphin et al. 2017, Language modeling with gated convolutional networks, eq. 1; Tomczak &
        Welling 2018, VAE with a VampPrior, section 5.
    """

    layers: tuple[Linear, ...]
    last: Linear
    input_dim: int = eqx.field(static=True)
    output_dim: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (300, 300),
    ):
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.output_dim = check_positive_int("output_dim", output_dim)
        dims = (self.input_dim, *check_dims("hidden_dims", hidden_dims))
        # values and gates in one product
        *keys, last_key = jax.random.split(check_rng_key(rng_key), len(dims))
        self.layers = tuple(Linear(key, dims[i], 2 * dims[i + 1]) for i, key in enumerate(keys))
        self.last = Linear(last_key, dims[-1], self.output_dim)

    def __call__(self, x: Array) -> Array:
        for layer in self.layers:
            x = jax.nn.glu(layer(x))
        return self.last(x)


class GatedConv(eqx.Module):
    r"""A convolution of images times the logistic function of another one.

    .. math:: y = (W * x + b) \odot \sigma(V * x + c)

    Args:
        rng_key: random key of the starting weights.
        input_channels: channels of the input.
        output_channels: channels of the output.
        kernel_size: entries of the kernel along each side, odd.
        stride: step, or the factor by which a transposed convolution enlarges.
        transposed: whether it is a transposed convolution.

    Shape:
        ``batch_shape + (input_channels, height, width)`` to ``batch_shape + (output_channels,
        ...)``, the sides divided by the stride, rounded up, or multiplied.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> GatedConv(jax.random.key(0), 1, 4, stride=2)(jnp.zeros((5, 1, 28, 28))).shape
        (5, 4, 14, 14)

    References:
        Dauphin et al. 2017, Language modeling with gated convolutional networks, eq. 1.
    """

    layer: Conv | ConvTranspose

    def __init__(
        self,
        rng_key: Array,
        input_channels: int,
        output_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        transposed: bool = False,
    ):
        kind = ConvTranspose if transposed else Conv
        self.layer = kind(rng_key, input_channels, 2 * output_channels, kernel_size, stride)

    def __call__(self, x: Array) -> Array:
        return jax.nn.glu(self.layer(x), axis=-3)
