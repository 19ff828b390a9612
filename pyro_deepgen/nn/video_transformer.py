"""A transformer over the slices of a video, each given the slices before it."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from .._numerics.checks import check_positive_int
from .._numerics.orders import causal_offsets, subscale_order
from .._numerics.subscale import (
    check_blocks,
    check_factors,
    slice_neighbours,
    slice_places,
    slice_shape,
)
from .autoregressive_network import AutoregressiveNetwork
from .block_local_attention import BlockLocalAttention

__all__ = ["VideoTransformer"]


class VideoTransformer(AutoregressiveNetwork):
    r"""Block-local attention over the slices of a grid, in the order of the slices.

    A grid falls into slices of every :math:`s_a`-th position along each axis. An encoder sees the
    slices before one, by a convolution centred on its positions and by attention inside blocks; a
    decoder goes through the slice in raster order, by a convolution over what comes before in it
    and by causal attention inside blocks. Blocks have other shapes in other layers, so that
    positions see across them. With factors of one there is one slice, and no encoder.

    It brings its own order, :func:`subscale_order`, and is given positions in their natural places.
    Sampling encodes each slice once, and keeps the keys and values of the slice it is in.

    Args:
        grid_shape: ``(time, height, width)``, or any number of axes.
        num_params: parameters of one position.
        hidden_dim: width, a multiple of ``num_heads``.
        num_blocks: number of layers of attention, of encoder and decoder each.
        num_heads: number of heads.
        factors: the :math:`s_a`, one an axis, default ones; they need not divide the axes.
        block_shapes: shapes of the blocks in a slice, of the layers in turn; default those of the
            paper, at most the slice.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'`` or ``'label'``, which every position is given; or ``'image'``, a
            video as large as the grid, which the encoder sees.

    Shape:
        ``(..., *grid_shape, in_channels)`` to ``(..., *grid_shape, num_params)``.

    Raises:
        ValueError: if a factor is larger than its axis, a shape has the wrong number of axes, or
            ``num_heads`` does not divide ``hidden_dim``.

    Example:
        >>> import torch
        >>> network = VideoTransformer((4, 6, 6), num_params=2, hidden_dim=8, factors=(1, 2, 2))
        >>> network(torch.zeros(5, 4, 6, 6, 1)).shape
        torch.Size([5, 4, 6, 6, 2])

    References:
        Weissenborn, Täckström & Uszkoreit 2020, Scaling Autoregressive Video Models, section 3;
        Menick & Kalchbrenner 2019, Generating High Fidelity Images with Subscale Pixel Networks.
    """

    def __init__(
        self,
        grid_shape: Sequence[int],
        num_params: int = 1,
        hidden_dim: int = 64,
        num_blocks: int = 4,
        num_heads: int = 4,
        factors: Sequence[int] | None = None,
        block_shapes: Sequence[Sequence[int]] | None = None,
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
    ):
        super().__init__(grid_shape, num_params, in_channels, context_dim, context_kind)
        hidden_dim = check_positive_int("hidden_dim", hidden_dim)
        num_blocks = check_positive_int("num_blocks", num_blocks)
        self.factors = check_factors(self.grid_shape, factors)
        self.orders = (subscale_order(self.grid_shape, self.factors),)
        self.slice_shape = slice_shape(self.grid_shape, self.factors)
        shapes = check_blocks(self.slice_shape, block_shapes)
        shapes = [shapes[i % len(shapes)] for i in range(num_blocks)]
        self.positions, self.offsets = (
            nn.ParameterList(0.02 * torch.randn(size, hidden_dim) for size in sizes)
            for sizes in (self.slice_shape, self.factors)
        )
        self.context_layer = self.encoder = None
        if context_dim and context_kind != "image":
            self.context_layer = nn.Linear(context_dim, hidden_dim, bias=False)
        is_image = context_dim > 0 and context_kind == "image"
        if is_image or math.prod(self.factors) > 1:
            context_dim = context_dim if is_image else 0
            self.encoder = _Encoder(self, in_channels, context_dim, hidden_dim, num_heads, shapes)
        offsets = causal_offsets((3,) * len(self.grid_shape), include_center=False)
        self.first = _Neighbours(self, in_channels, hidden_dim, offsets, "own")
        self.blocks = nn.ModuleList(
            BlockLocalAttention(self.slice_shape, shape, hidden_dim, num_heads, causal=True)
            for shape in shapes
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.last = nn.Linear(hidden_dim, num_params)
        places = torch.tensor(slice_places(self.grid_shape, self.factors))
        is_valid = places < self.num_positions
        # where each position is among the places of all slices, and by rank its slice and place
        back = places[is_valid].argsort()
        ranks = is_valid.flatten().nonzero().squeeze(-1)
        self.register_buffer("back", ranks[back], persistent=False)
        self.ranks = [divmod(rank, places.shape[1]) for rank in ranks.tolist()]
        self.register_buffer("is_valid", None, persistent=False)
        if not is_valid.all():
            self.is_valid = is_valid.reshape(-1, *self.slice_shape)

    def run(self, x: Tensor, features: Tensor | None, order_index: int = 0) -> Tensor:
        x, features = with_zeros(x), self._prepared(features)
        every = slice(None)
        h = self.first(x, every) + self._start(x, features, every)
        h = h.unflatten(2, self.slice_shape)
        for block in self.blocks:
            h = block(h, self.is_valid)
        h = h.flatten(1, -2).index_select(1, self.back)
        return self.last(self.norm(h)).reshape(len(x), *self.grid_shape, self.num_params)

    def _prepared(self, features: Tensor | None) -> Tensor | None:
        """What layers take of a context: of an image all places and a zero, else a vector."""
        if features is None:
            return None
        return with_zeros(features) if self.context_layer is None else features.flatten(1, -2)

    def _start(self, x: Tensor, features: Tensor | None, slices: slice) -> Tensor:
        """What places of slices start from beside their own slice, ``(N or 1, slices, places, d)``.

        Args:
            x: the inputs, a zero behind them, ``(N, positions + 1, in_channels)``.
            features: the prepared context.
            slices: which slices.
        """
        h = summed(self.offsets)[slices, None] + summed(self.positions)
        if self.encoder is not None:
            h = h + self.encoder(x, features, h, slices, self.is_valid)
        if self.context_layer is not None:
            h = h + self.context_layer(features).unsqueeze(1)
        return h if h.ndim == 4 else h.unsqueeze(0)

    def init_cache(
        self, num_rows: int, context: Tensor | None = None, order_index: int = 0
    ) -> dict:
        """Return room for the inputs and for the keys and values of one slice."""
        size = self.num_positions + 1
        return {
            "x": self.last.weight.new_zeros(num_rows, size, self.in_channels),
            "features": self._prepared(self.features(context)),
            "blocks": [block.init_cache(num_rows) for block in self.blocks],
        }

    def step(
        self, cache: dict, previous: Tensor, index: int, order_index: int = 0
    ) -> tuple[Tensor, dict]:
        if index:
            cache["x"][:, self.orders[0][index - 1]] = previous
        which, place = self.ranks[index]
        slices = slice(which, which + 1)
        if place == 0:
            cache["start"] = self._start(cache["x"], cache["features"], slices)[:, 0]
            for known in cache["blocks"]:
                known["written"].zero_()
        h = self.first(cache["x"], slices, slice(place, place + 1))[:, 0, 0]
        h = h + cache["start"][:, place]
        for block, known in zip(self.blocks, cache["blocks"], strict=True):
            h = block.step(h, known, place)
        return self.last(self.norm(h)), cache


class _Encoder(nn.Module):
    """Features of the places of slices from the slices before them, and from a video."""

    def __init__(self, network, in_channels, context_dim, hidden_dim, num_heads, block_shapes):
        super().__init__()
        # far enough for each position to see one of every slice, on both sides
        reach = [max(factor - 1, 1) for factor in network.factors]
        offsets = tuple(product(*(range(-r, r + 1) for r in reach)))
        others = tuple(offset for offset in offsets if any(offset))
        self.first = self.context = None
        if math.prod(network.factors) > 1:
            self.first = _Neighbours(network, in_channels, hidden_dim, others, "earlier")
        if context_dim:
            self.context = _Neighbours(network, context_dim, hidden_dim, offsets, "all")
        self.blocks = nn.ModuleList(
            BlockLocalAttention(network.slice_shape, shape, hidden_dim, num_heads)
            for shape in block_shapes
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.last = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, x, features, h, slices, is_valid):
        if self.first is not None:
            h = h + self.first(x, slices)
        if self.context is not None:
            h = h + self.context(features, slices)
        h = h.unflatten(2, self.blocks[0].grid_shape)
        for block in self.blocks:
            h = block(h, None if is_valid is None else is_valid[slices])
        return self.last(self.norm(h)).flatten(2, -2)


class _Neighbours(nn.Module):
    """A convolution over neighbours of the places of slices, read from a table of them."""

    def __init__(self, network, in_channels: int, out_channels: int, offsets, kind: str):
        super().__init__()
        bound = 1.0 / math.sqrt(in_channels * len(offsets))
        shape = (out_channels, in_channels, len(offsets))
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        table = slice_neighbours(network.grid_shape, network.factors, offsets, kind)
        self.register_buffer("table", torch.tensor(table), persistent=False)

    def forward(self, x: Tensor, slices: slice, places: slice = slice(None)) -> Tensor:
        """Return ``(N, slices, places, out_channels)`` from ``(N, positions + 1, in_channels)``."""
        table = self.table[slices, places]
        taps = x.index_select(1, table.flatten()).reshape(len(x), *table.shape[:2], -1)
        return taps @ self.weight.permute(2, 1, 0).flatten(0, 1) + self.bias


def with_zeros(x: Tensor) -> Tensor:
    """Positions as one axis, ``(N, positions + 1, size)``, with a zero for what is off the grid."""
    return nn.functional.pad(x.flatten(1, -2), (0, 0, 0, 1))


def summed(tables: Sequence[Tensor]) -> Tensor:
    """Sums of a vector of each axis, for all places in raster order, ``(places, size)``."""
    total = tables[0]
    for table in tables[1:]:
        total = total.unsqueeze(-2) + table
    return total.flatten(0, -2)
