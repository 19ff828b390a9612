r"""Convolutions and their transposes in one, two and three dimensions.

.. math::
    y_{o, t} = b_o + \sum_{i, k} W_{o, i, k}\, x_{i,\, s t + d k - p}

with stride :math:`s`, dilation :math:`d` and padding :math:`p`. The transpose spreads each input
where the convolution would gather from. Weights are ``(output_channels, input_channels / groups,
*kernel_size)`` in both, starting uniform in
:math:`\pm 1 / \sqrt n` with ``n`` inputs of an output.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.convolution import check_image_shape, make_window, per_dimension

__all__ = ["Conv", "ConvTranspose"]

CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
TRANSPOSES = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


class _Convolution(nn.Module):
    """Weights of a window."""

    def __init__(self, window, use_bias: bool, init_scale: float):
        super().__init__()
        self.window = window
        bound = init_scale / math.sqrt(window.fan_in)
        self.weight = nn.Parameter(torch.empty(window.weight_shape).uniform_(-bound, bound))
        self.bias = None
        if use_bias:
            bias = torch.empty(window.output_channels).uniform_(-bound, bound)
            self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        dims = self.window.spatial_dims
        check_image_shape(x.shape, self.window.input_channels, dims)
        lead = x.shape[: -1 - dims]
        y = self._convolve(x.reshape((-1,) + x.shape[-1 - dims :]))
        return y.reshape(lead + y.shape[1:])


class Conv(_Convolution):
    r"""A convolution, any leading shape.

    Args:
        input_channels: channels of the input.
        output_channels: channels of the output.
        kernel_size: entries of the kernel, an integer or one for each spatial dimension.
        stride: step, likewise.
        padding: zeros on each side, likewise, or ``'same'``: the image keeps its size at stride 1
            and is divided by the stride, rounded up, at others (odd kernels only).
        dilation: distance of the kernel's entries, likewise.
        groups: groups of channels that do not see each other; as many as channels make a
            depthwise convolution.
        spatial_dims: 1, 2 or 3.
        use_bias: whether there is a bias.
        init_scale: factor of the starting weights; 0 starts the output at zero.

    Shape:
        ``batch_shape + (input_channels, *spatial)`` to ``batch_shape + (output_channels,
        *spatial)``, any ``batch_shape``.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if one is out of range, or the input has another shape.

    Example:
        >>> import torch
        >>> Conv(1, 4, stride=2)(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 4, 14, 14])
    """

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        kernel_size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = "same",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        spatial_dims: int = 2,
        use_bias: bool = True,
        init_scale: float = 1.0,
    ):
        window = make_window(
            input_channels,
            output_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            spatial_dims,
        )
        super().__init__(window, use_bias, init_scale)

    def _convolve(self, x: Tensor) -> Tensor:
        w = self.window
        convolve = CONVOLUTIONS[w.spatial_dims - 1]
        return convolve(x, self.weight, self.bias, w.stride, w.padding, w.dilation, w.groups)


class ConvTranspose(_Convolution):
    r"""A transposed convolution, any leading shape.

    Args:
        input_channels: channels of the input.
        output_channels: channels of the output.
        kernel_size: entries of the kernel, an integer or one for each spatial dimension.
        stride: factor by which the image grows, likewise.
        padding: rows left out on each side, likewise, or ``'same'`` (odd kernels only).
        output_padding: rows added at the end, likewise, less than the stride; default as many as
            multiply the size by the stride with ``padding='same'``, else none.
        dilation: distance of the kernel's entries, likewise.
        groups: groups of channels that do not see each other.
        spatial_dims: 1, 2 or 3.
        use_bias: whether there is a bias.
        init_scale: factor of the starting weights; 0 starts the output at zero.

    Shape:
        ``batch_shape + (input_channels, *spatial)`` to ``batch_shape + (output_channels,
        *spatial)``, any ``batch_shape``.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if one is out of range, or the input has another shape.

    Example:
        >>> import torch
        >>> ConvTranspose(4, 1, stride=2)(torch.zeros(5, 4, 7, 7)).shape
        torch.Size([5, 1, 14, 14])
    """

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        kernel_size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = "same",
        output_padding: int | Sequence[int] | None = None,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        spatial_dims: int = 2,
        use_bias: bool = True,
        init_scale: float = 1.0,
    ):
        window = make_window(
            input_channels,
            output_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            spatial_dims,
        )
        super().__init__(window, use_bias, init_scale)
        if output_padding is None:
            output_padding = [s - 1 if padding == "same" else 0 for s in window.stride]
        self.output_padding = per_dimension("output_padding", output_padding, spatial_dims, 0)

    def _convolve(self, x: Tensor) -> Tensor:
        w = self.window
        # the host has the input channels first
        weight = self.weight.unflatten(0, (w.groups, -1)).transpose(1, 2).flatten(0, 1)
        return TRANSPOSES[w.spatial_dims - 1](
            x, weight, self.bias, w.stride, w.padding, self.output_padding, w.groups, w.dilation
        )
