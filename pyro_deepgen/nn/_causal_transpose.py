"""Transposed convolutions that double a grid, for whole grids, a row, or one position."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CausalTranspose"]


class CausalTranspose(nn.Module):
    r"""The sum :math:`y_p = b + \sum_{q, k :\, 2 q + o_k = p} W_k x_q` on a grid of two axes.

    The offsets are those of the rows 0 and 1 and of the given columns, so that row ``r`` of the
    output sees row ``r // 2`` of the input alone.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        columns: offsets of the columns, in a row up to 1.

    Shape:
        ``(N, h, w, in_channels)`` to ``(N, *sides, out_channels)`` with sides up to ``(2 h, 2 w)``;
        the weight is ``(out_channels, in_channels, 2 * len(columns))``.

    Example:
        >>> import torch
        >>> CausalTranspose(2, 4, (-1, 0, 1))(torch.zeros(3, 4, 4, 2), (7, 8)).shape
        torch.Size([3, 7, 8, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, columns: Sequence[int]):
        super().__init__()
        self.columns = tuple(columns)
        # an output sees half of the columns
        bound = 1.0 / math.sqrt(in_channels * ((len(self.columns) + 1) // 2))
        shape = (out_channels, in_channels, 2 * len(self.columns))
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def _kernel(self) -> Tensor:
        """Weights ``(in_channels, out_channels, 2, columns)``."""
        return self.weight.transpose(0, 1).unflatten(2, (2, -1))

    def _cut(self, y: Tensor, num_columns: int) -> Tensor:
        return y[..., -self.columns[0] :][..., :num_columns]

    def forward(self, x: Tensor, sides: Sequence[int]) -> Tensor:
        y = functional.conv_transpose2d(x.movedim(-1, 1), self._kernel(), self.bias, stride=2)
        return self._cut(y[:, :, : sides[0]], sides[1]).movedim(1, -1)

    def row(self, x: Tensor, parity: int, num_columns: int) -> Tensor:
        """Return an even or odd row ``(N, num_columns, out_channels)``, of ``(N, w, ...)``."""
        kernel = self._kernel()[:, :, parity]
        y = functional.conv_transpose1d(x.movedim(-1, 1), kernel, self.bias, stride=2)
        return self._cut(y, num_columns).movedim(1, -1)

    def position(self, x: Tensor, row: int, column: int) -> Tensor:
        """Return the output at a position of these parities, of columns 0 and 1 as offsets."""
        return functional.linear(x, self.weight[:, :, 2 * row + column], self.bias)
