"""Residual blocks of convolutions: bottlenecks, and separable ones with normalisation."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax, random

from .._numerics.checks import check_positive_int
from ..ops._random import check_rng_key
from .activations import activation_function
from .convolution import Conv

__all__ = ["BottleneckBlock", "GroupNorm", "SeparableBlock", "average_pool", "resize_nearest"]


class GroupNorm(eqx.Module):
    r"""Normalisation of each image over groups of channels; it keeps no state.

    .. math:: y = \gamma_c \frac{x - \mu_g}{\sqrt{\sigma_g^2 + \epsilon}} + \beta_c

    Args:
        channels: number of channels.
        num_groups: number of groups, a divisor; 1 normalises over the whole image.
        spatial_dims: number of dimensions after the channels.
        epsilon: what is added to the variance.

    Shape:
        ``batch_shape + (channels, *spatial)`` to the same, any ``batch_shape``.

    Example:
        >>> import jax.numpy as jnp
        >>> GroupNorm(4, 2)(jnp.zeros((3, 4, 5, 5))).shape
        (3, 4, 5, 5)

    References:
        Wu & He 2018, Group normalization, eq. 1 and 7.
    """

    weight: Array
    bias: Array
    num_groups: int = eqx.field(static=True)
    spatial_dims: int = eqx.field(static=True)
    epsilon: float = eqx.field(static=True)

    def __init__(
        self, channels: int, num_groups: int = 1, spatial_dims: int = 2, epsilon: float = 1e-5
    ):
        self.num_groups = check_positive_int("num_groups", num_groups)
        if check_positive_int("channels", channels) % num_groups:
            raise ValueError(
                f"channels must be a multiple of num_groups, got {channels} for {num_groups}; "
                "change either."
            )
        self.spatial_dims, self.epsilon = spatial_dims, epsilon
        self.weight, self.bias = jnp.ones(channels), jnp.zeros(channels)

    def __call__(self, x: Array) -> Array:
        grouped = x.reshape(x.shape[: -1 - self.spatial_dims] + (self.num_groups, -1))
        centred = grouped - grouped.mean(-1, keepdims=True)
        scale = lax.rsqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        y, shape = (centred * scale).reshape(x.shape), (-1,) + (1,) * self.spatial_dims
        return y * self.weight.reshape(shape) + self.bias.reshape(shape)


class BottleneckBlock(eqx.Module):
    r"""Four activated convolutions through few channels, 1x1, kxk, kxk and 1x1.

    Args:
        rng_key: random key of the starting weights.
        input_channels: channels of the input.
        output_channels: channels of the output; if they are as many, the input is added.
        hidden_channels: channels between.
        kernel_size: of the inner convolutions; use 1 for images of one or two pixels, and vectors.
        activation: what is applied before each convolution.
        init_scale: factor of the starting weights of the last convolution;
            :math:`1 / \sqrt{n}` for ``n`` blocks keeps the sum of them in range.
        spatial_dims: 1, 2 or 3.

    Shape:
        ``batch_shape + (input_channels, *spatial)`` to ``batch_shape + (output_channels,
        *spatial)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> BottleneckBlock(jax.random.key(0), 4, 6, 2)(jnp.zeros((3, 4, 8, 8))).shape
        (3, 6, 8, 8)

    References:
        Child 2021, Very deep VAEs generalize autoregressive models, figure 3 and section 3.2.
    """

    layers: tuple[Conv, ...]
    activation: str | Callable = eqx.field(static=True)
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_channels: int,
        output_channels: int,
        hidden_channels: int,
        kernel_size: int = 3,
        activation: str | Callable = "gelu",
        init_scale: float = 1.0,
        spatial_dims: int = 2,
    ):
        activation_function(activation)
        self.activation, self.residual = activation, input_channels == output_channels
        keys = random.split(check_rng_key(rng_key), 4)
        dims = {"spatial_dims": spatial_dims}
        self.layers = (
            Conv(keys[0], input_channels, hidden_channels, 1, **dims),
            Conv(keys[1], hidden_channels, hidden_channels, kernel_size, **dims),
            Conv(keys[2], hidden_channels, hidden_channels, kernel_size, **dims),
            Conv(keys[3], hidden_channels, output_channels, 1, init_scale=init_scale, **dims),
        )

    def __call__(self, x: Array) -> Array:
        activation, y = activation_function(self.activation), x
        for layer in self.layers:
            y = layer(activation(y))
        return x + y if self.residual else y


class SeparableBlock(eqx.Module):
    r"""A residual block of a depthwise convolution among many channels.

    Normalisation, 1x1 to more channels, normalisation, activation, depthwise kxk, normalisation,
    activation and 1x1 back; then each channel is scaled by a gate of the means of all
    (squeeze and excitation), and added to the input.

    Args:
        rng_key: random key of the starting weights.
        channels: channels of input and output.
        expansion: factor of the channels inside.
        kernel_size: of the depthwise convolution, odd.
        activation: inside.
        num_groups: groups of the normalisations.
        init_scale: factor of the starting weights of the last convolution.

    Shape:
        ``batch_shape + (channels, height, width)`` to the same.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> SeparableBlock(jax.random.key(0), 4)(jnp.zeros((3, 4, 8, 8))).shape
        (3, 4, 8, 8)

    References:
        Vahdat & Kautz 2020, NVAE: a deep hierarchical variational autoencoder, figure 3a; it has
        batch normalisation; Hu, Shen & Sun 2018, Squeeze-and-excitation networks.
    """

    norms: tuple[GroupNorm, ...]
    layers: tuple[Conv, ...]
    gate: tuple[Conv, Conv]
    activation: str | Callable = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        channels: int,
        expansion: int = 3,
        kernel_size: int = 5,
        activation: str | Callable = "silu",
        num_groups: int = 1,
        init_scale: float = 0.1,
    ):
        keys = random.split(check_rng_key(rng_key), 5)
        wide = channels * check_positive_int("expansion", expansion)
        squeezed = max(channels // 4, 1)
        activation_function(activation)
        self.activation = activation
        self.norms = tuple(GroupNorm(c, num_groups) for c in (channels, wide, wide))
        self.layers = (
            Conv(keys[0], channels, wide, 1),
            Conv(keys[1], wide, wide, kernel_size, groups=wide),
            Conv(keys[2], wide, channels, 1, init_scale=init_scale),
        )
        self.gate = (Conv(keys[3], channels, squeezed, 1), Conv(keys[4], squeezed, channels, 1))

    def __call__(self, x: Array) -> Array:
        activation = activation_function(self.activation)
        y = self.layers[0](self.norms[0](x))
        for norm, layer in zip(self.norms[1:], self.layers[1:], strict=True):
            y = layer(activation(norm(y)))
        squeezed = jax.nn.relu(self.gate[0](y.mean((-2, -1), keepdims=True)))
        return x + y * jax.nn.sigmoid(self.gate[1](squeezed))


def resize_nearest(x: Array, height: int, width: int) -> Array:
    """Images of another size, each pixel that of the nearest place.

    Args:
        x: shape ``batch_shape + (channels, height_before, width_before)``.
        height: new height.
        width: new width.

    Example:
        >>> import jax.numpy as jnp
        >>> resize_nearest(jnp.array([[[1.0, 2.0]]]), 1, 4).tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """
    for dim, size in ((-2, height), (-1, width)):
        before = x.shape[dim]
        if size != before and size % before == 0:
            x = jnp.repeat(x, size // before, dim)
        elif size != before:
            x = jnp.take(x, jnp.arange(size) * before // size, dim)
    return x


def average_pool(x: Array, height: int, width: int) -> Array:
    """Images of a smaller size, the means over blocks of pixels.

    Where the size is no multiple, the last blocks are smaller.

    Args:
        x: shape ``batch_shape + (channels, height_before, width_before)``.
        height: new height.
        width: new width.

    Example:
        >>> import jax.numpy as jnp
        >>> average_pool(jnp.array([[[1.0, 2.0, 6.0]]]), 1, 2).tolist()
        [[[1.5, 6.0]]]
    """
    for dim, after in ((-2, height), (-1, width)):
        before, step = x.shape[dim], -(-x.shape[dim] // after)
        window = [1] * x.ndim
        window[dim] = step
        margins = [(0, 0)] * x.ndim
        margins[dim] = (0, -before % step)
        total = lax.reduce_window(x, 0.0, lax.add, tuple(window), tuple(window), margins)
        count = jnp.minimum(step, before - step * jnp.arange(total.shape[dim])).astype(x.dtype)
        x = total / count.reshape((-1,) + (1,) * (-1 - dim))
    return x
