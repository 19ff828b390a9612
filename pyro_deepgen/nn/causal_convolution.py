"""Convolutions over chosen neighbours, for whole grids and for one position after another."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.checks import check_positive_int
from .._numerics.orders import check_offsets, tap_table

__all__ = ["CausalConv"]

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class CausalConv(nn.Module):
    r"""The sum :math:`y_p = b + \sum_k W_k x_{s p + o_k}` over offsets, zero outside the grid.

    There are weights for the offsets alone, so that no masked entry exists.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        offsets: offsets of the neighbours, each with one integer an axis; one to three axes.
        stride: step ``s`` along every axis.
        init_scale: factor of the starting weights, which are uniform in :math:`\pm 1 / \sqrt n`
            with ``n`` inputs of an output.

    Shape:
        ``(N, *grid_shape, in_channels)`` to ``(N, *grid_shape, out_channels)``, with sides divided
        by the stride and rounded up; the weight is ``(out_channels, in_channels, len(offsets))``.

    Example:
        >>> import torch
        >>> CausalConv(2, 4, [(-1, 0), (0, -1)])(torch.zeros(3, 8, 8, 2)).shape
        torch.Size([3, 8, 8, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        offsets: Sequence[tuple[int, ...]],
        stride: int = 1,
        init_scale: float = 1.0,
    ):
        super().__init__()
        self.in_channels, self.stride = in_channels, check_positive_int("stride", stride)
        self.offsets = tuple(tuple(offset) for offset in offsets)
        check_offsets(self.offsets)
        bound = 1.0 / math.sqrt(in_channels * len(self.offsets))
        shape = (out_channels, in_channels, len(self.offsets))
        self.weight = nn.Parameter(init_scale * torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        axes = list(zip(*self.offsets, strict=True))
        self.dilation = [math.gcd(*axis) or 1 for axis in axes]
        lows = [min(axis) for axis in axes]
        self.kernel_shape = [
            (max(axis) - low) // d + 1
            for axis, low, d in zip(axes, lows, self.dilation, strict=True)
        ]
        places = torch.tensor(self.offsets) - torch.tensor(lows)
        places = places // torch.tensor(self.dilation)
        flat = [
            sum(int(i) * math.prod(self.kernel_shape[a + 1 :]) for a, i in enumerate(place))
            for place in places
        ]
        # in front of and behind every axis, the last axis first; negative behind: cut off
        pads = [(-low, max(axis)) for axis, low in zip(axes, lows, strict=True)]
        self.pads = [pad for pair in reversed(pads) for pad in pair]
        self.is_dense = flat == list(range(math.prod(self.kernel_shape)))
        self.register_buffer("places", torch.tensor(flat), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._convolve(x, self.pads)

    def row(self, window: Tensor) -> Tensor:
        """Return one row of outputs, from as many rows as the offsets reach over.

        Args:
            window: shape ``(N, rows, columns, in_channels)``, of a grid of two axes.
        """
        return self._convolve(window, self.pads[:2])[:, 0]

    def _convolve(self, x: Tensor, pads: list[int]) -> Tensor:
        kernel = self.weight
        if not self.is_dense:
            kernel = kernel.new_zeros((*kernel.shape[:2], math.prod(self.kernel_shape)))
            kernel = kernel.index_copy(2, self.places, self.weight)
        kernel = kernel.reshape(*kernel.shape[:2], *self.kernel_shape)
        x = functional.pad(x.movedim(-1, 1), pads)
        convolve = CONVOLUTIONS[len(self.kernel_shape)]
        y = convolve(x, kernel, self.bias, stride=self.stride, dilation=self.dilation)
        return y.movedim(1, -1)

    def init_buffer(self, num_rows: int, grid_shape: tuple[int, ...]) -> dict:
        """Return a ring of past inputs; see :func:`tap_table`."""
        table, length = tap_table(grid_shape, self.offsets)
        ring = self.weight.new_zeros(length + 1, num_rows, self.in_channels)
        weight = self.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous()
        return {"ring": list(ring.unbind(0)), "table": table.tolist(), "weight": weight}

    def step(self, buffer: dict, x: Tensor, index: int, lag: int = 0) -> tuple[Tensor, dict]:
        """Return the output at position ``index``, given the input at ``index - lag``."""
        if index >= lag:
            buffer = self.write(buffer, x, index - lag)
        return self.read(buffer, index), buffer

    def write(self, buffer: dict, x: Tensor, index: int) -> dict:
        """Keep the input at a position."""
        ring = buffer["ring"]
        ring[index % (len(ring) - 1)] = x
        return buffer

    def read(self, buffer: dict, index: int) -> Tensor:
        """Return the output whose offsets count from the input's position ``index``."""
        taps = torch.cat([buffer["ring"][slot] for slot in buffer["table"][index]], 1)
        return torch.addmm(self.bias, taps, buffer["weight"])
