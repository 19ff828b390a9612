"""PixelCNN++: two streams of gated residual blocks on several grids."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as drop_out
from torch.nn.functional import elu

from .._numerics.checks import check_positive, check_positive_int
from .._numerics.orders import causal_offsets, check_image_grid, row_offsets
from ._shifted_steps import init_positions, init_rows, next_position, next_row
from ._shifted_stream import ShiftedStream, halved
from .autoregressive_network import AutoregressiveNetwork

__all__ = ["PixelCNNPlusPlus"]


class PixelCNNPlusPlus(AutoregressiveNetwork):
    r"""Residual blocks in two streams, on the grid, its half, its quarter, and back.

    The vertical stream sees the rows above, the horizontal one the row itself too. Both consist of
    blocks, with :math:`e(h) = (\mathrm{elu}(h), \mathrm{elu}(-h))` and :math:`c` the context,

    .. math::
        (a, b) = W_2 * d(e(W_1 * e(h) + W_s e(s) + W_v e(v))) + V c, \qquad
        h \leftarrow h + a \odot \sigma(b),

    where :math:`d` is dropout, :math:`s` the features of the same grid on the way down, for blocks
    on the way up, and :math:`v` those of the vertical stream, for blocks of the horizontal one.
    Convolutions with a step of 2 lead to the next grid, and their transposes back; sides are
    rounded up, so that grids of any size are allowed. Weights are not normalised.

    Sampling computes every feature once: those of a grid with steps of :math:`2^s` only at every
    :math:`2^s`-th row and column, the vertical stream once a row.

    In training mode dropout is random in each pass; call ``eval()`` before scoring. Steps, and thus
    samples, never drop anything.

    Args:
        grid_shape: shape of the grid, two axes.
        num_params: parameters of one position.
        hidden_dim: width.
        num_blocks: blocks of each grid on the way down; on the way up there is one more, but for
            the coarsest grid.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none; it enters every gate, an image as means over
            the positions of a coarser one.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        num_scales: number of grids.
        dropout: rate of dropout in [0, 1).

    Shape:
        ``(..., *grid_shape, in_channels)`` to ``(..., *grid_shape, num_params)``.

    Example:
        >>> import torch
        >>> PixelCNNPlusPlus((8, 8), num_params=17)(torch.zeros(5, 8, 8, 1)).shape
        torch.Size([5, 8, 8, 17])

    References:
        Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++, sections 2.3-2.5 and figure 2;
        Ramachandran et al. 2017, Fast Generation for Convolutional Autoregressive Models.
    """

    def __init__(
        self,
        grid_shape: Sequence[int],
        num_params: int = 1,
        hidden_dim: int = 16,
        num_blocks: int = 2,
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
        num_scales: int = 3,
        dropout: float = 0.0,
    ):
        super().__init__(grid_shape, num_params, in_channels, context_dim, context_kind)
        check_image_grid(self.grid_shape)
        width = check_positive_int("hidden_dim", hidden_dim)
        self.num_scales = check_positive_int("num_scales", num_scales)
        self.dropout = check_positive("dropout", dropout, 1.0) if dropout else 0.0
        sizes = self.num_scales, check_positive_int("num_blocks", num_blocks), context_dim
        # a number one beside the inputs tells positions from what is off the grid
        num_inputs = in_channels + 1
        above = [(row - 1, column) for row, column in row_offsets(3, 0)]
        self.vertical = ShiftedStream(
            num_inputs, width, above, row_offsets(3, 0), *sizes, has_above=False
        )
        earlier, corner = causal_offsets((3, 3), False), [(-1, -1), (-1, 0), (0, -1), (0, 0)]
        self.horizontal = ShiftedStream(num_inputs, width, earlier, corner, *sizes, has_above=True)
        self.last = nn.Linear(width, num_params)

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Shapes of the grids, the finest one first."""
        return [
            tuple(-(-n // 2**scale) for n in self.grid_shape) for scale in range(self.num_scales)
        ]

    def _pyramid(self, features: Tensor | None) -> list[Tensor | None]:
        """Features of a context for each grid."""
        if features is None or self.context_kind != "image":
            return [features] * self.num_scales
        pyramid = [features]
        for _ in range(self.num_scales - 1):
            pyramid.append(halved(pyramid[-1]))
        return pyramid

    def run(self, x, features):
        drop = partial(drop_out, p=self.dropout, training=self.training)
        x, pyramid = with_one(x), self._pyramid(features)
        _, found = self.vertical.run(self.vertical.first(x), None, pyramid, drop)
        above = [self.horizontal.project(*pair) for pair in enumerate(found)]
        h, _ = self.horizontal.run(self.horizontal.first(x), above, pyramid, drop)
        return self.last(elu(h))

    def init_cache(self, num_rows: int, context: Tensor | None = None) -> dict:
        """Return past rows of the vertical stream and past inputs of the horizontal one."""
        like, num_columns = self.last.weight, self.grid_shape[1]
        pyramid, line = self._pyramid(self.features(context)), self.in_channels + 1
        return {
            "line": like.new_zeros(num_rows, num_columns, line),
            "past": like.new_zeros(num_rows, 1, num_columns, line),
            "rows": init_rows(self, num_rows, like),
            "first": self.horizontal.first.init_buffer(num_rows, self.grid_shape),
            "positions": init_positions(self, num_rows, like),
            "contexts": pyramid,
            "features": [None if f is None else f.flatten(1, 2).transpose(0, 1) for f in pyramid],
        }

    def step(self, cache: dict, previous: Tensor, index: int) -> tuple[Tensor, dict]:
        row, column = divmod(index, self.grid_shape[1])
        x = with_one(previous)
        if index:
            cache["line"][:, column - 1] = x
        if column == 0:
            window = torch.cat([cache["past"], cache["line"].unsqueeze(1)], 1)
            cache["past"] = window[:, 1:]
            v = self.vertical.first.row(window)
            next_row(self, v, row, cache["rows"], cache["contexts"])
        h, _ = self.horizontal.first.step(cache["first"], x, index, lag=1)
        states = cache["positions"], cache["rows"], cache["features"]
        h = next_position(self, h, row, column, *states)
        return self.last(elu(h)), cache


def with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)
