"""Kernels, strides and margins of convolutions, a number for each spatial dimension."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from .checks import check_positive_int

__all__ = ["Window", "check_image_shape", "make_window", "per_dimension"]


@dataclass(frozen=True)
class Window:
    """A checked convolution: how many channels, and what slides over the image.

    Attributes:
        input_channels: channels of the input.
        output_channels: channels of the output.
        kernel_size: entries of the kernel in each spatial dimension.
        stride: step in each spatial dimension.
        padding: zeros on each side of each spatial dimension.
        dilation: distance of the kernel's entries in each spatial dimension.
        groups: number of groups of channels that do not see each other.
    """

    input_channels: int
    output_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel_size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """``(output_channels, input_channels / groups, *kernel_size)``."""
        return (self.output_channels, self.input_channels // self.groups, *self.kernel_size)

    @property
    def fan_in(self) -> int:
        """Number of inputs of an output."""
        return prod(self.weight_shape[1:])

    @property
    def extent(self) -> tuple[int, ...]:
        """Distance of the first from the last entry of the kernel."""
        pairs = zip(self.kernel_size, self.dilation, strict=True)
        return tuple(dilation * (size - 1) for size, dilation in pairs)


def make_window(
    input_channels: Any,
    output_channels: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    spatial_dims: Any,
) -> Window:
    """Check the settings of a convolution.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if one is out of range.
    """
    spatial_dims = check_positive_int("spatial_dims", spatial_dims)
    if spatial_dims > 3:
        raise ValueError(
            f"spatial_dims must be 1, 2 or 3, got {spatial_dims}; flatten some dimensions."
        )
    channels = [
        check_positive_int("input_channels", input_channels),
        check_positive_int("output_channels", output_channels),
    ]
    groups = check_positive_int("groups", groups)
    for name, number in zip(("input_channels", "output_channels"), channels, strict=True):
        if number % groups:
            raise ValueError(
                f"{name} must be a multiple of groups, got {number} for {groups}; change either."
            )
    kernel_size = per_dimension("kernel_size", kernel_size, spatial_dims)
    dilation = per_dimension("dilation", dilation, spatial_dims)
    if padding == "same":
        padding = _same_padding(kernel_size, dilation)
    return Window(
        *channels,
        kernel_size,
        per_dimension("stride", stride, spatial_dims),
        per_dimension("padding", padding, spatial_dims, minimum=0),
        dilation,
        groups,
    )


def per_dimension(name: str, value: Any, spatial_dims: int, minimum: int = 1) -> tuple[int, ...]:
    """Return an integer, or one for each spatial dimension, as a tuple of them."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != spatial_dims:
            raise ValueError(
                f"{name} must have one entry for each of the {spatial_dims} spatial dimensions, "
                f"got {tuple(value)}; pass {spatial_dims} of them, or one integer."
            )
        return tuple(check_positive_int(f"{name}[{i}]", v, minimum) for i, v in enumerate(value))
    return (check_positive_int(name, value, minimum),) * spatial_dims


def _same_padding(kernel_size: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    extents = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
    if any(extent % 2 for extent in extents):
        raise ValueError(
            f"kernel_size must be odd for padding='same', got {kernel_size}; pass padding as a "
            "number."
        )
    return tuple(extent // 2 for extent in extents)


def check_image_shape(shape: Sequence[int], channels: int, spatial_dims: int) -> None:
    """Raise unless ``shape`` ends in ``channels`` and the spatial dimensions."""
    if len(shape) <= spatial_dims or shape[-1 - spatial_dims] != channels:
        names = ", ".join(("depth", "height", "width")[-spatial_dims:])
        raise ValueError(
            f"input must have shape (..., {channels}, {names}), got {tuple(shape)}; move the "
            "channels before the spatial dimensions."
        )
