"""Attention inside the blocks of a grid."""

from collections.abc import Sequence
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .._numerics.blocks import block_counts, block_distances, block_places, block_presence
from .._numerics.checks import check_dims
from .._numerics.subscale import check_blocks
from ..ops._random import check_rng_key
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
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> layer = BlockLocalAttention(jax.random.key(0), (3, 8, 8), (1, 4, 4), 16)
        >>> layer(jnp.zeros((5, 3, 8, 8, 16))).shape
        (5, 3, 8, 8, 16)

    References:
        Weissenborn, Täckström & Uszkoreit 2020, Scaling Autoregressive Video Models, equations 1-5.
    """

    biases: tuple[Array, ...]
    grid_shape: tuple[int, ...] = eqx.field(static=True)
    block_shape: tuple[int, ...] = eqx.field(static=True)
    causal: bool = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        grid_shape: Sequence[int],
        block_shape: Sequence[int],
        hidden_dim: int,
        num_heads: int = 4,
        causal: bool = False,
    ):
        super().__init__(check_rng_key(rng_key), hidden_dim, num_heads)
        self.grid_shape = check_dims("grid_shape", grid_shape)
        (self.block_shape,) = check_blocks(self.grid_shape, [block_shape])
        self.causal = causal
        self.biases = tuple(jnp.zeros((num_heads, 2 * size - 1)) for size in self.block_shape)

    @property
    def is_full(self) -> bool:
        """Whether blocks divide the grid."""
        return bool(block_presence(self.grid_shape, self.block_shape).all())

    def __call__(self, h: Array, is_valid: Array | None = None) -> Array:
        """Return the new features.

        Args:
            h: features.
            is_valid: booleans of the shape of the grid, perhaps behind some of the last leading
                dimensions of ``h``: positions that others may attend to; default all.
        """
        rows = self._split(h.reshape(-1, *h.shape[-1 - len(self.grid_shape) :]))
        query, key, value = self._heads(rows)
        scores = jnp.einsum("nbihs,nbjhs->nbhij", query, key) / query.shape[-1] ** 0.5
        scores = scores + self._bias()
        if is_valid is not None or not self.is_full:
            seen = self._seen(is_valid)
            grouped = scores.reshape(-1, len(seen), *scores.shape[1:])
            scores = jnp.where(seen, grouped, -jnp.inf).reshape(scores.shape)
        if self.causal:
            scores = jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf)
        found = jnp.einsum("nbhij,nbjhs->nbihs", jax.nn.softmax(scores, -1), value)
        return self._join(self._finish(rows, found)).reshape(h.shape)

    def _seen(self, is_valid: Array | None) -> Array:
        """Whether places may be attended to, shape ``(groups, blocks, 1, places, places)``."""
        seen = jnp.asarray(block_presence(self.grid_shape, self.block_shape))[None]
        if is_valid is not None:
            seen = self._split(is_valid.reshape(-1, *self.grid_shape, 1))[..., 0]
        # what attends to nothing else attends to itself, which nothing reads
        return seen[:, :, None, None, :] | np.eye(seen.shape[-1], dtype=bool)

    def _bias(self) -> Array:
        """The numbers added to the scores, ``(num_heads, places, places)``."""
        pairs = zip(self.biases, block_distances(self.block_shape), strict=True)
        return sum(table[:, distance] for table, distance in pairs)

    def _split(self, h: Array) -> Array:
        """Turn ``(N, *grid_shape, size)`` into ``(N, blocks, places, size)``."""
        counts = block_counts(self.grid_shape, self.block_shape)
        pairs = list(zip(counts, self.block_shape, strict=True))
        if not self.is_full:
            pads = [(0, c * b - n) for (c, b), n in zip(pairs, self.grid_shape, strict=True)]
            h = jnp.pad(h, [(0, 0), *pads, (0, 0)])
        count, size = len(counts), h.shape[-1]
        h = h.reshape(len(h), *(side for pair in pairs for side in pair), size)
        axes = [*range(1, 2 * count, 2), *range(2, 2 * count + 1, 2)]
        h = h.transpose(0, *axes, 2 * count + 1)
        return h.reshape(len(h), prod(counts), prod(self.block_shape), size)

    def _join(self, rows: Array) -> Array:
        """Undo :meth:`_split`."""
        counts = block_counts(self.grid_shape, self.block_shape)
        count, size = len(counts), rows.shape[-1]
        h = rows.reshape(len(rows), *counts, *self.block_shape, size)
        axes = [axis for i in range(1, count + 1) for axis in (i, i + count)]
        h = h.transpose(0, *axes, 2 * count + 1)
        sides = [c * b for c, b in zip(counts, self.block_shape, strict=True)]
        h = h.reshape(len(rows), *sides, size)
        return h[(slice(None), *(slice(n) for n in self.grid_shape))]

    def init_cache(self, num_rows: int) -> dict:
        """Return room for the keys and values of all positions, and which are known."""
        weight = self.attention_out.weight
        shape = block_presence(self.grid_shape, self.block_shape).shape
        room = (*shape, num_rows, self.num_heads, len(weight) // self.num_heads)
        return {
            "keys": jnp.zeros(room, weight.dtype),
            "values": jnp.zeros(room, weight.dtype),
            "written": jnp.zeros(shape, bool),
        }

    def step(self, h: Array, cache: dict, place: Array) -> tuple[Array, dict]:
        """Return the new features of one position, ``(N, d)``, from those known and its own."""
        query, key, value = self._heads(h)
        block, slot = jnp.asarray(block_places(self.grid_shape, self.block_shape))[:, place]
        keys = cache["keys"].at[block, slot].set(key)
        values = cache["values"].at[block, slot].set(value)
        written = cache["written"].at[block, slot].set(True)
        scores = jnp.einsum("jnhs,nhs->nhj", keys[block], query) / query.shape[-1] ** 0.5
        distances = jnp.asarray(block_distances(self.block_shape))[:, slot]
        pairs = zip(self.biases, distances, strict=True)
        scores = scores + sum(table[:, distance] for table, distance in pairs)
        scores = jnp.where(written[block], scores, -jnp.inf)
        found = jnp.einsum("nhj,jnhs->nhs", jax.nn.softmax(scores, -1), values[block])
        return self._finish(h, found), {"keys": keys, "values": values, "written": written}
