"""Convolutional networks from images to vectors and back."""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
from jax import Array

from .._numerics.checks import check_dims, check_positive_int
from ..ops._random import check_rng_key
from .activations import activation_function
from .convolution import Conv, ConvTranspose
from .dense import Dense
from .flat_inputs import FlatInputs, as_numbers
from .gated import GatedConv

__all__ = ["ImageDecoder", "ImageEncoder"]


class ImageEncoder(eqx.Module):
    """Convolutions that halve an image, and a dense network of what is left and of a context.

    Args:
        rng_key: random key of the starting weights.
        image_shape: ``(channels, height, width)``.
        output_dim: size of the output.
        channels: channels of each layer, all of stride 2.
        hidden_dims: hidden widths of the dense network.
        context_dim: size of the context, 0 for none.
        activation: activation of all layers, of the convolutions unless they are gated.
        gated: whether the convolutions are gated.
        kernel_size: entries of the kernels along each side, odd.
        input_range: lowest and highest entry of the images, which are then rescaled to [-1, 1].

    Shape:
        ``batch_shape + image_shape``, and perhaps ``batch_shape + (context_dim,)``, to
        ``batch_shape + (output_dim,)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = ImageEncoder(jax.random.key(0), (1, 28, 20), 10, (4, 8))
        >>> network(jnp.zeros((5, 1, 28, 20))).shape
        (5, 10)
    """

    layers: tuple[eqx.Module, ...]
    head: FlatInputs
    activation: str | Callable = eqx.field(static=True)
    gated: bool = eqx.field(static=True)
    input_range: tuple[float, float] | None = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        image_shape: Sequence[int],
        output_dim: int,
        channels: Sequence[int] = (32, 64),
        hidden_dims: Sequence[int] = (256,),
        context_dim: int = 0,
        activation: str | Callable = "elu",
        gated: bool = False,
        kernel_size: int = 5,
        input_range: tuple[float, float] | None = None,
    ):
        activation_function(activation)
        self.activation = activation
        self.gated, self.input_range = bool(gated), input_range
        shapes = halved(image_shape, channels)
        context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        size = math.prod(shapes[-1]) + context_dim
        kind, pairs = GatedConv if gated else Conv, zip(shapes[:-1], shapes[1:], strict=True)
        *keys, head_key = jax.random.split(check_rng_key(rng_key), len(shapes))
        self.layers = tuple(
            kind(key, a[0], b[0], kernel_size, stride=2)
            for key, (a, b) in zip(keys, pairs, strict=True)
        )
        head = Dense(head_key, size, output_dim, hidden_dims, activation)
        self.head = FlatInputs(head, event_dim=3)

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        x, activation = as_numbers(x, self.input_range), activation_function(self.activation)
        for layer in self.layers:
            x = layer(x) if self.gated else activation(layer(x))
        return self.head(x, context)


class ImageDecoder(eqx.Module):
    """A dense network, and transposed convolutions that double an image up to its size.

    Args:
        rng_key: random key of the starting weights.
        input_dim: size of the input, the context included.
        image_shape: ``(channels, height, width)`` of the output; the channels hold all parameters
            of a distribution.
        channels: channels of each layer that doubles, from the first on.
        hidden_dims: hidden widths of the dense network.
        activation: activation of all layers, of the convolutions unless they are gated.
        gated: whether the convolutions are gated.
        kernel_size: entries of the kernels along each side, odd.

    Shape:
        ``batch_shape + (input_dim,)``, or part of it and ``batch_shape`` and the rest as a context,
        to ``batch_shape + image_shape``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> ImageDecoder(jax.random.key(0), 10, (1, 28, 20), (8, 4))(jnp.zeros((5, 10))).shape
        (5, 1, 28, 20)
    """

    head: FlatInputs
    layers: tuple[eqx.Module, ...]
    last: Conv
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    activation: str | Callable = eqx.field(static=True)
    gated: bool = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        image_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        hidden_dims: Sequence[int] = (256,),
        activation: str | Callable = "elu",
        gated: bool = False,
        kernel_size: int = 5,
    ):
        activation_function(activation)
        self.activation = activation
        self.gated = bool(gated)
        self.shapes = tuple(reversed(halved(image_shape, tuple(channels)[::-1])))
        size, counts = math.prod(self.shapes[0]), [shape[0] for shape in self.shapes[:-1]]
        counts.append(counts[-1])
        head_key, last_key, *keys = jax.random.split(check_rng_key(rng_key), len(counts) + 1)
        self.head = FlatInputs(Dense(head_key, input_dim, size, hidden_dims, activation))
        self.layers = tuple(
            self._layer(key, a, b, kernel_size)
            for key, (a, b) in zip(keys, pairs(counts), strict=True)
        )
        self.last = Conv(last_key, counts[-1], self.shapes[-1][0], kernel_size)

    def _layer(self, rng_key: Array, before: int, after: int, kernel_size: int) -> eqx.Module:
        if self.gated:
            return GatedConv(rng_key, before, after, kernel_size, stride=2, transposed=True)
        return ConvTranspose(rng_key, before, after, kernel_size, stride=2)

    def __call__(self, z: Array, context: Array | None = None) -> Array:
        activation = activation_function(self.activation)
        x = activation(self.head(z, context))
        x = x.reshape((*x.shape[:-1], *self.shapes[0]))
        for layer, (_, height, width) in zip(self.layers, self.shapes[1:], strict=True):
            x = layer(x)[..., :height, :width]
            x = x if self.gated else activation(x)
        return self.last(x)


def halved(image_shape: Sequence[int], channels: Sequence[int]) -> list[tuple[int, int, int]]:
    """The shapes of an image and of what each layer makes of it."""
    shapes = [check_dims("image_shape", image_shape)]
    if len(shapes[0]) != 3:
        raise ValueError(
            f"image_shape must be (channels, height, width), got {tuple(image_shape)}; add a "
            "dimension of one channel."
        )
    for count in check_dims("channels", channels):
        _, height, width = shapes[-1]
        shapes.append((count, -(-height // 2), -(-width // 2)))
    return shapes


def pairs(counts: Sequence[int]) -> zip:
    """Neighbours."""
    return zip(counts[:-1], counts[1:], strict=True)
