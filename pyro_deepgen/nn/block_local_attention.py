"""Attention inside the blocks of a grid."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.blocks import block_counts, block_distances, block_places, block_presence
from .._numerics.checks import check_dims
from .._numerics.subscale import check_blocks
from .attention_block import AttentionBlock

__all__ = ["BlockLocalAttention"]


class BlockLocalAttention(AttentionBlock):
    r"""A block of a transformer whose positions attend to those of their own block of the grid.

    .. math::
        A = \mathrm{softmax}\big(Q K^\top / \sqrt{d} + B\big), \qquad
        B_{ij} = \sum_a \beta_a[i_a - j_a]

    with a learned number :math:`\beta_a` of each head for each distance along each axis. Blocks of
    one position's width in all axes but one make axial attention. Where blocks do not divide the
    grid, the last ones are smaller.

    Args:
        grid_shape: shape of the grid, any number of axes.
        block_shape: shape of a block; axes longer than the grid are cut.
        hidden_dim: width, a multiple of ``num_heads``.
        num_heads: number of heads.
        causal: whether positions attend to themselves and earlier ones alone, in raster order.

    Shape:
        ``(..., *grid_shape, hidden_dim)`` to the same.

    Raises:
        ValueError: if a shape has too few or too many axes, or ``num_heads`` does not divide
            ``hidden_dim``.

    Example:
        >>> import torch
        >>> BlockLocalAttention((3, 8, 8), (1, 4, 4), 16)(torch.zeros(5, 3, 8, 8, 16)).shape
        torch.Size([5, 3, 8, 8, 16])

    References:
        Weissenborn, Täckström & Uszkoreit 2020, Scaling Autoregressive Video Models, equations 1-5.
    """

    def __init__(
        self,
        grid_shape: Sequence[int],
        block_shape: Sequence[int],
        hidden_dim: int,
        num_heads: int = 4,
        causal: bool = False,
    ):
        super().__init__(hidden_dim, num_heads)
        self.grid_shape = check_dims("grid_shape", grid_shape)
        (self.block_shape,) = check_blocks(self.grid_shape, [block_shape])
        self.causal = causal
        self.biases = nn.ParameterList(
            torch.zeros(num_heads, 2 * size - 1) for size in self.block_shape
        )
        for name, table in (
            ("distances", block_distances(self.block_shape)),
            ("presence", block_presence(self.grid_shape, self.block_shape)),
        ):
            self.register_buffer(name, torch.tensor(table), persistent=False)
        self.is_full = bool(self.presence.all())
        blocks, slots = block_places(self.grid_shape, self.block_shape)
        self.places = list(zip(blocks.tolist(), slots.tolist(), strict=True))

    def forward(self, h: Tensor, is_valid: Tensor | None = None) -> Tensor:
        """Return the new features.

        Args:
            h: features.
            is_valid: booleans of the shape of the grid, perhaps behind some of the last leading
                dimensions of ``h``: positions that others may attend to; default all.
        """
        rows = self._split(h.flatten(0, -2 - len(self.grid_shape)))
        # (N, blocks, num_heads, places, size)
        heads = [part.transpose(2, 3) for part in self._heads(rows)]
        bias = self._bias()
        if is_valid is None and self.is_full:
            heads = [part.flatten(0, 1) for part in heads]
        else:
            # blocks differ in what they hold: they go with the heads, along which masks may differ
            seen = self._seen(is_valid)
            bias = bias.masked_fill(~seen, -torch.inf).flatten(0, 2)
            heads = [part.reshape(-1, len(bias), *part.shape[-2:]) for part in heads]
        found = functional.scaled_dot_product_attention(*heads, attn_mask=bias)
        found = found.reshape(*rows.shape[:2], self.num_heads, *found.shape[-2:])
        return self._join(self._finish(rows, found.transpose(2, 3))).reshape(h.shape)

    def _seen(self, is_valid: Tensor | None) -> Tensor:
        """Whether places may be attended to, shape ``(groups, blocks, 1, places, places)``."""
        seen = self.presence.unsqueeze(0)
        if is_valid is not None:
            seen = self._split(is_valid.reshape(-1, *self.grid_shape, 1)).squeeze(-1)
        # what attends to nothing else attends to itself, which nothing reads
        own = torch.eye(seen.shape[-1], dtype=torch.bool, device=seen.device)
        return seen[:, :, None, None, :] | own

    def _bias(self) -> Tensor:
        """The numbers added to the scores, ``(num_heads, places, places)``."""
        pairs = zip(self.biases, self.distances, strict=True)
        bias = sum(table[:, distance] for table, distance in pairs)
        if not self.causal:
            return bias
        later = torch.ones_like(bias[0], dtype=torch.bool).triu(1)
        return bias.masked_fill(later, -torch.inf)

    def _split(self, h: Tensor) -> Tensor:
        """Turn ``(N, *grid_shape, size)`` into ``(N, blocks, places, size)``."""
        counts = block_counts(self.grid_shape, self.block_shape)
        if not self.is_full:
            pairs = zip(counts, self.block_shape, self.grid_shape, strict=True)
            pads = [pad for c, b, n in reversed(list(pairs)) for pad in (0, c * b - n)]
            h = functional.pad(h, [0, 0, *pads])
        count, sides = len(counts), zip(counts, self.block_shape, strict=True)
        h = h.reshape(len(h), *(side for pair in sides for side in pair), -1)
        axes = [*range(1, 2 * count, 2), *range(2, 2 * count + 1, 2)]
        h = h.permute(0, *axes, 2 * count + 1)
        return h.reshape(len(h), prod(counts), prod(self.block_shape), -1)

    def _join(self, rows: Tensor) -> Tensor:
        """Undo :meth:`_split`."""
        counts = block_counts(self.grid_shape, self.block_shape)
        count = len(counts)
        h = rows.reshape(len(rows), *counts, *self.block_shape, -1)
        axes = [axis for i in range(1, count + 1) for axis in (i, i + count)]
        h = h.permute(0, *axes, 2 * count + 1)
        sides = [c * b for c, b in zip(counts, self.block_shape, strict=True)]
        h = h.reshape(len(rows), *sides, -1)
        return h[(slice(None), *(slice(n) for n in self.grid_shape))]

    def init_cache(self, num_rows: int) -> dict:
        """Return room for the keys and values of all positions, and which are known."""
        weight, shape = self.attention_out.weight, self.presence.shape
        size = len(weight) // self.num_heads
        return {
            "known": weight.new_zeros(2, shape[0], num_rows, self.num_heads, shape[1], size),
            "written": torch.zeros_like(self.presence),
            "bias": self._bias(),
        }

    def step(self, h: Tensor, cache: dict, place: int) -> Tensor:
        """Return the new features of one position, from those known, given its own, ``(N, d)``."""
        query, key, value = self._heads(h)
        block, slot = self.places[place]
        known, written = cache["known"][:, block], cache["written"][block]
        known[0, :, :, slot], known[1, :, :, slot], written[slot] = key, value, True
        keys, values = known[..., : slot + 1, :]
        scores = (keys @ query.unsqueeze(-1)).squeeze(-1) / query.shape[-1] ** 0.5
        scores = scores + cache["bias"][:, slot, : slot + 1]
        scores = scores.masked_fill(~written[: slot + 1], -torch.inf)
        return self._finish(h, (scores.softmax(-1).unsqueeze(-2) @ values).squeeze(-2))
