"""Gated networks."""

from collections.abc import Sequence

from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int
from .convolution import Conv, ConvTranspose

__all__ = ["GatedConv", "GatedDense"]


class GatedDense(nn.Module):
    r"""Hidden layers :math:`h \mapsto (W h + b) \odot \sigma(V h + c)`, and a linear layer.

    Args:
        input_dim: size of the last dimension of the input.
        output_dim: size of the last dimension of the output.
        hidden_dims: widths of the hidden layers.

    Shape:
        ``batch_shape + (input_dim,)`` to ``batch_shape + (output_dim,)``, any ``batch_shape``.

    Example:
        >>> import torch
        >>> GatedDense(3, 2, hidden_dims=(8,))(torch.zeros(5, 4, 3)).shape
        torch.Size([5, 4, 2])

    References:
        Dauphin et al. 2017, Language modeling with gated convolutional networks, eq. 1; Tomczak &
        Welling 2018, VAE with a VampPrior, section 5.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (300, 300),
    ):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.output_dim = check_positive_int("output_dim", output_dim)
        dims = (self.input_dim, *check_dims("hidden_dims", hidden_dims))
        # values and gates in one product
        self.layers = nn.ModuleList(
            nn.Linear(dims[i], 2 * dims[i + 1]) for i in range(len(dims) - 1)
        )
        self.last = nn.Linear(dims[-1], self.output_dim)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = nn.functional.glu(layer(x))
        return self.last(x)


class GatedConv(nn.Module):
    r"""A convolution of images times the logistic function of another one.

    .. math:: y = (W * x + b) \odot \sigma(V * x + c)

    Args:
        input_channels: channels of the input.
        output_channels: channels of the output.
        kernel_size: entries of the kernel along each side, odd.
        stride: step, or the factor by which a transposed convolution enlarges.
        transposed: whether it is a transposed convolution.

    Shape:
        ``batch_shape + (input_channels, height, width)`` to ``batch_shape + (output_channels,
        ...)``, the sides divided by the stride, rounded up, or multiplied.

    Example:
        >>> import torch
        >>> GatedConv(1, 4, stride=2)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 4, 14, 14])

    References:
        Dauphin et al. 2017, Language modeling with gated convolutional networks, eq. 1.
    """

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        transposed: bool = False,
    ):
        super().__init__()
        kind = ConvTranspose if transposed else Conv
        self.layer = kind(input_channels, 2 * output_channels, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.glu(self.layer(x), dim=-3)
