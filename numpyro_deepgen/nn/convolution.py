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

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax, random

from .._numerics.convolution import Window, check_image_shape, make_window, per_dimension
from ..ops._random import check_rng_key

__all__ = ["Conv", "ConvTranspose"]


def _start(rng_key: Array, window: Window, use_bias: bool, init_scale: float):
    """Starting weight and bias of a window."""
    bound = init_scale / math.sqrt(window.fan_in)
    weight_key, bias_key = random.split(check_rng_key(rng_key))
    weight = random.uniform(weight_key, window.weight_shape, minval=-bound, maxval=bound)
    if not use_bias:
        return weight, None
    shape = (window.output_channels,)
    return weight, random.uniform(bias_key, shape, minval=-bound, maxval=bound)


def _over_images(convolve, window: Window, x: Array, bias: Array | None) -> Array:
    """Convolve images of any leading shape, and add the bias."""
    dims = window.spatial_dims
    check_image_shape(x.shape, window.input_channels, dims)
    y = convolve(x.reshape((-1,) + x.shape[-1 - dims :]))
    if bias is not None:
        y = y + bias.reshape((-1,) + (1,) * dims)
    return y.reshape(x.shape[: -1 - dims] + y.shape[1:])


class Conv(eqx.Module):
    r"""A convolution, any leading shape.

    Args:
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> Conv(jax.random.key(0), 1, 4, stride=2)(jnp.zeros((5, 2, 1, 28, 28))).shape
        (5, 2, 4, 14, 14)
    """

    weight: Array
    bias: Array | None
    window: Window = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
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
        self.window = make_window(
            input_channels,
            output_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            spatial_dims,
        )
        self.weight, self.bias = _start(rng_key, self.window, use_bias, init_scale)

    def __call__(self, x: Array) -> Array:
        return _over_images(self._convolve, self.window, x, self.bias)

    def _convolve(self, x: Array) -> Array:
        w = self.window
        return lax.conv_general_dilated(
            x,
            self.weight,
            window_strides=w.stride,
            padding=[(p, p) for p in w.padding],
            rhs_dilation=w.dilation,
            feature_group_count=w.groups,
        )


class ConvTranspose(eqx.Module):
    r"""A transposed convolution, any leading shape.

    Args:
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> ConvTranspose(jax.random.key(0), 4, 1, stride=2)(jnp.zeros((5, 4, 7, 7))).shape
        (5, 1, 14, 14)
    """

    weight: Array
    bias: Array | None
    window: Window = eqx.field(static=True)
    output_padding: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
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
        self.window = make_window(
            input_channels,
            output_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            spatial_dims,
        )
        self.weight, self.bias = _start(rng_key, self.window, use_bias, init_scale)
        if output_padding is None:
            output_padding = [s - 1 if padding == "same" else 0 for s in self.window.stride]
        self.output_padding = per_dimension("output_padding", output_padding, spatial_dims, 0)

    def __call__(self, x: Array) -> Array:
        return _over_images(self._convolve, self.window, x, self.bias)

    def _convolve(self, x: Array) -> Array:
        w = self.window
        margins = zip(w.extent, w.padding, self.output_padding, strict=True)
        return lax.conv_general_dilated(
            x,
            jnp.flip(self.weight, tuple(range(2, self.weight.ndim))),
            window_strides=(1,) * w.spatial_dims,
            padding=[(extent - p, extent - p + extra) for extent, p, extra in margins],
            lhs_dilation=w.stride,
            rhs_dilation=w.dilation,
            feature_group_count=w.groups,
        )
