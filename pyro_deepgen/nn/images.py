"""Convolutional networks from images to vectors and back."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int
from .activations import activation_function
from .convolution import Conv, ConvTranspose
from .dense import Dense
from .flat_inputs import FlatInputs, as_numbers
from .gated import GatedConv

__all__ = ["ImageDecoder", "ImageEncoder"]


class ImageEncoder(nn.Module):
    """Convolutions that halve an image, and a dense network of what is left and of a context.

    Args:
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
        >>> import torch
        >>> ImageEncoder((1, 28, 20), 10, (4, 8))(torch.zeros(5, 1, 28, 20)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
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
        super().__init__()
        self.activation = activation_function(activation)
        self.gated, self.input_range = bool(gated), input_range
        shapes = halved(image_shape, channels)
        context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        size = math.prod(shapes[-1]) + context_dim
        kind, pairs = GatedConv if gated else Conv, zip(shapes[:-1], shapes[1:], strict=True)
        self.layers = nn.ModuleList(kind(a[0], b[0], kernel_size, stride=2) for a, b in pairs)
        head = Dense(size, output_dim, hidden_dims, activation)
        self.head = FlatInputs(head, event_dim=3)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = as_numbers(x, self.head, self.input_range)
        for layer in self.layers:
            x = layer(x) if self.gated else self.activation(layer(x))
        return self.head(x, context)


class ImageDecoder(nn.Module):
    """A dense network, and transposed convolutions that double an image up to its size.

    Args:
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
        >>> import torch
        >>> ImageDecoder(10, (1, 28, 20), (8, 4))(torch.zeros(5, 10)).shape
        torch.Size([5, 1, 28, 20])
    """

    def __init__(
        self,
        input_dim: int,
        image_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        hidden_dims: Sequence[int] = (256,),
        activation: str | Callable = "elu",
        gated: bool = False,
        kernel_size: int = 5,
    ):
        super().__init__()
        self.activation = activation_function(activation)
        self.gated = bool(gated)
        self.shapes = tuple(reversed(halved(image_shape, tuple(channels)[::-1])))
        size, counts = math.prod(self.shapes[0]), [shape[0] for shape in self.shapes[:-1]]
        counts.append(counts[-1])
        self.head = FlatInputs(Dense(input_dim, size, hidden_dims, activation))
        self.layers = nn.ModuleList(self._layer(a, b, kernel_size) for a, b in pairs(counts))
        self.last = Conv(counts[-1], self.shapes[-1][0], kernel_size)

    def _layer(self, before: int, after: int, kernel_size: int) -> nn.Module:
        if self.gated:
            return GatedConv(before, after, kernel_size, stride=2, transposed=True)
        return ConvTranspose(before, after, kernel_size, stride=2)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        x = self.activation(self.head(z, context))
        x = x.reshape((*x.shape[:-1], *self.shapes[0]))
        for layer, (_, height, width) in zip(self.layers, self.shapes[1:], strict=True):
            x = layer(x)[..., :height, :width]
            x = x if self.gated else self.activation(x)
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
