"""Residual blocks of convolutions: bottlenecks, and separable ones with normalisation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.checks import check_positive_int
from .activations import activation_function
from .convolution import Conv

__all__ = ["BottleneckBlock", "GroupNorm", "SeparableBlock", "average_pool", "resize_nearest"]


class GroupNorm(nn.Module):
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
        >>> import torch
        >>> GroupNorm(4, 2)(torch.zeros(3, 4, 5, 5)).shape
        torch.Size([3, 4, 5, 5])

    References:
        Wu & He 2018, Group normalization, eq. 1 and 7.
    """

    def __init__(
        self, channels: int, num_groups: int = 1, spatial_dims: int = 2, epsilon: float = 1e-5
    ):
        super().__init__()
        self.num_groups = check_positive_int("num_groups", num_groups)
        if check_positive_int("channels", channels) % num_groups:
            raise ValueError(
                f"channels must be a multiple of num_groups, got {channels} for {num_groups}; "
                "change either."
            )
        self.spatial_dims, self.epsilon = spatial_dims, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape((-1,) + x.shape[-1 - self.spatial_dims :])
        y = functional.group_norm(flat, self.num_groups, self.weight, self.bias, self.epsilon)
        return y.reshape(x.shape)


class BottleneckBlock(nn.Module):
    r"""Four activated convolutions through few channels, 1x1, kxk, kxk and 1x1.

    Args:
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
        >>> import torch
        >>> BottleneckBlock(4, 6, 2)(torch.zeros(3, 4, 8, 8)).shape
        torch.Size([3, 6, 8, 8])

    References:
        Child 2021, Very deep VAEs generalize autoregressive models, figure 3 and section 3.2.
    """

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        hidden_channels: int,
        kernel_size: int = 3,
        activation: str | Callable = "gelu",
        init_scale: float = 1.0,
        spatial_dims: int = 2,
    ):
        super().__init__()
        self.activation = activation_function(activation)
        self.residual = input_channels == output_channels
        dims = {"spatial_dims": spatial_dims}
        self.layers = nn.ModuleList(
            [
                Conv(input_channels, hidden_channels, 1, **dims),
                Conv(hidden_channels, hidden_channels, kernel_size, **dims),
                Conv(hidden_channels, hidden_channels, kernel_size, **dims),
                Conv(hidden_channels, output_channels, 1, init_scale=init_scale, **dims),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(self.activation(y))
        return x + y if self.residual else y


class SeparableBlock(nn.Module):
    r"""A residual block of a depthwise convolution among many channels.

    Normalisation, 1x1 to more channels, normalisation, activation, depthwise kxk, normalisation,
    activation and 1x1 back; then each channel is scaled by a gate of the means of all
    (squeeze and excitation), and added to the input.

    Args:
        channels: channels of input and output.
        expansion: factor of the channels inside.
        kernel_size: of the depthwise convolution, odd.
        activation: inside.
        num_groups: groups of the normalisations.
        init_scale: factor of the starting weights of the last convolution.

    Shape:
        ``batch_shape + (channels, height, width)`` to the same.

    Example:
        >>> import torch
        >>> SeparableBlock(4)(torch.zeros(3, 4, 8, 8)).shape
        torch.Size([3, 4, 8, 8])

    References:
        Vahdat & Kautz 2020, NVAE: a deep hierarchical variational autoencoder, figure 3a; it has
        batch normalisation; Hu, Shen & Sun 2018, Squeeze-and-excitation networks.
    """

    def __init__(
        self,
        channels: int,
        expansion: int = 3,
        kernel_size: int = 5,
        activation: str | Callable = "silu",
        num_groups: int = 1,
        init_scale: float = 0.1,
    ):
        super().__init__()
        wide = channels * check_positive_int("expansion", expansion)
        squeezed = max(channels // 4, 1)
        self.activation = activation_function(activation)
        self.norms = nn.ModuleList(GroupNorm(c, num_groups) for c in (channels, wide, wide))
        self.layers = nn.ModuleList(
            [
                Conv(channels, wide, 1),
                Conv(wide, wide, kernel_size, groups=wide),
                Conv(wide, channels, 1, init_scale=init_scale),
            ]
        )
        self.gate = nn.ModuleList([Conv(channels, squeezed, 1), Conv(squeezed, channels, 1)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers[0](self.norms[0](x))
        for norm, layer in zip(self.norms[1:], self.layers[1:], strict=True):
            y = layer(self.activation(norm(y)))
        squeezed = functional.relu(self.gate[0](y.mean((-2, -1), keepdim=True)))
        return x + y * torch.sigmoid(self.gate[1](squeezed))


def resize_nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Images of another size, each pixel that of the nearest place.

    Args:
        x: shape ``batch_shape + (channels, height_before, width_before)``.
        height: new height.
        width: new width.

    Example:
        >>> import torch
        >>> resize_nearest(torch.tensor([[[1.0, 2.0]]]), 1, 4).tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """
    for dim, size in ((-2, height), (-1, width)):
        before = x.shape[dim]
        if size != before and size % before == 0:
            x = x.repeat_interleave(size // before, dim)
        elif size != before:
            x = x.index_select(dim, torch.arange(size, device=x.device) * before // size)
    return x


def average_pool(x: Tensor, height: int, width: int) -> Tensor:
    """Images of a smaller size, the means over blocks of pixels.

    Where the size is no multiple, the last blocks are smaller.

    Args:
        x: shape ``batch_shape + (channels, height_before, width_before)``.
        height: new height.
        width: new width.

    Example:
        >>> import torch
        >>> average_pool(torch.tensor([[[1.0, 2.0, 6.0]]]), 1, 2).tolist()
        [[[1.5, 6.0]]]
    """
    steps = [
        -(-before // after) for before, after in zip(x.shape[-2:], (height, width), strict=True)
    ]
    flat = functional.avg_pool2d(x.reshape((-1,) + x.shape[-3:]), steps, ceil_mode=True)
    return flat.reshape(x.shape[:-2] + flat.shape[-2:])
