"""A transformer over the slices of a video, each given the slices before it."""

import math
from collections.abc import Sequence
from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .._numerics.checks import check_positive_int
from .._numerics.orders import causal_offsets, subscale_order
from .._numerics.subscale import (
    check_blocks,
    check_factors,
    slice_neighbours,
    slice_places,
    slice_shape,
)
from ..ops._random import check_rng_key
from ._linear import Linear
from .attention_block import LayerNorm
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
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> sizes = {"num_params": 2, "hidden_dim": 8, "factors": (1, 2, 2)}
        >>> network = VideoTransformer(jax.random.key(0), (4, 6, 6), **sizes)
        >>> network(jnp.zeros((5, 4, 6, 6, 1))).shape
        (5, 4, 6, 6, 2)

    References:
        Weissenborn, Täckström & Uszkoreit 2020, Scaling Autoregressive Video Models, section 3;
        Menick & Kalchbrenner 2019, Generating High Fidelity Images with Subscale Pixel Networks.
    """

    positions: tuple[Array, ...]
    offsets: tuple[Array, ...]
    context_layer: Linear | None
    encoder: "_Encoder | None"
    first: "_Neighbours"
    blocks: tuple[BlockLocalAttention, ...]
    norm: LayerNorm
    last: Linear
    factors: tuple[int, ...] = eqx.field(static=True)
    orders: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    slice_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
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
        axes_key, *keys = jax.random.split(check_rng_key(rng_key), num_blocks + 5)
        sizes = (*self.slice_shape, *self.factors)
        tables = tuple(
            0.02 * jax.random.normal(key, (size, hidden_dim))
            for key, size in zip(jax.random.split(axes_key, len(sizes)), sizes, strict=True)
        )
        self.positions, self.offsets = tables[: len(self.factors)], tables[len(self.factors) :]
        self.context_layer = self.encoder = None
        if context_dim and context_kind != "image":
            self.context_layer = Linear(keys[0], context_dim, hidden_dim, use_bias=False)
        is_image = context_dim > 0 and context_kind == "image"
        grids = (self.grid_shape, self.factors)
        if is_image or math.prod(self.factors) > 1:
            sizes = (in_channels, context_dim if is_image else 0, hidden_dim, num_heads)
            self.encoder = _Encoder(keys[1], *grids, *sizes, shapes)
        offsets = causal_offsets((3,) * len(self.grid_shape), include_center=False)
        self.first = _Neighbours(keys[2], *grids, in_channels, hidden_dim, offsets, "own")
        self.blocks = tuple(
            BlockLocalAttention(key, self.slice_shape, shape, hidden_dim, num_heads, causal=True)
            for key, shape in zip(keys[4:], shapes, strict=True)
        )
        self.norm = LayerNorm(hidden_dim)
        self.last = Linear(keys[3], hidden_dim, num_params)

    @property
    def places(self) -> np.ndarray:
        """Flat positions of the places of all slices, ``(slices, places)``."""
        return slice_places(self.grid_shape, self.factors)

    def _is_valid(self) -> Array | None:
        """Which places slices have, ``(slices, *slice_shape)``, or None for all."""
        found = self.places < self.num_positions
        return None if found.all() else jnp.asarray(found.reshape(-1, *self.slice_shape))

    def run(self, x: Array, features: Array | None, order_index: int | Array = 0) -> Array:
        x, features = with_zeros(x), self._prepared(features)
        every = slice(None)
        h = self.first(x, every) + self._start(x, features, every)
        h = h.reshape(*h.shape[:2], *self.slice_shape, -1)
        for block in self.blocks:
            h = block(h, self._is_valid())
        places = self.places.reshape(-1)
        ranks = np.flatnonzero(places < self.num_positions)
        h = h.reshape(len(x), len(places), -1)[:, ranks[np.argsort(places[ranks])]]
        return self.last(self.norm(h)).reshape(len(x), *self.grid_shape, self.num_params)

    def _prepared(self, features: Array | None) -> Array | None:
        """What layers take of a context: of an image all places and a zero, else a vector."""
        if features is None:
            return None
        if self.context_layer is None:
            return with_zeros(features)
        return features.reshape(len(features), 1, self.context_dim)

    def _start(self, x: Array, features: Array | None, slices) -> Array:
        """What places of slices start from beside their own slice, ``(N or 1, slices, places, d)``.

        Args:
            x: the inputs, a zero behind them, ``(N, positions + 1, in_channels)``.
            features: the prepared context.
            slices: which slices, an array or a slice.
        """
        h = summed(self.offsets)[slices][:, None] + summed(self.positions)
        if self.encoder is not None:
            h = h + self.encoder(x, features, h, slices, self._is_valid())
        if self.context_layer is not None:
            h = h + self.context_layer(features)[:, None]
        return h if h.ndim == 4 else h[None]

    def init_cache(
        self, num_rows: int, context: Array | None = None, order_index: int | Array = 0
    ) -> dict:
        """Return room for the inputs and for the keys and values of one slice."""
        (hidden_dim,), dtype = self.norm.weight.shape, self.norm.weight.dtype
        size = self.num_positions + 1
        return {
            "x": jnp.zeros((num_rows, size, self.in_channels), dtype),
            "start": jnp.zeros((num_rows, math.prod(self.slice_shape), hidden_dim), dtype),
            "features": self._prepared(self.features(context)),
            "blocks": [block.init_cache(num_rows) for block in self.blocks],
        }

    def step(
        self, cache: dict, previous: Array, index: Array, order_index: int | Array = 0
    ) -> tuple[Array, dict]:
        # at the first step the inputs are zeros, written in the place of the zero
        before = jnp.asarray((self.num_positions, *self.orders[0]))[index]
        x, features = cache["x"].at[:, before].set(previous), cache["features"]
        ranks = np.flatnonzero(self.places < self.num_positions)
        which, place = jnp.divmod(jnp.asarray(ranks)[index], self.places.shape[1])
        is_new, start = place == 0, cache["start"]
        start = lax.cond(
            is_new,
            lambda: jnp.broadcast_to(self._start(x, features, which[None])[:, 0], start.shape),
            lambda: start,
        )
        h = self.first(x, which[None], place[None])[:, 0, 0] + start[:, place]
        blocks = []
        for block, known in zip(self.blocks, cache["blocks"], strict=True):
            known = {**known, "written": known["written"] & ~is_new}
            h, known = block.step(h, known, place)
            blocks.append(known)
        return self.last(self.norm(h)), {**cache, "x": x, "start": start, "blocks": blocks}


class _Encoder(eqx.Module):
    """Features of the places of slices from the slices before them, and from a video."""

    first: "_Neighbours | None"
    context: "_Neighbours | None"
    blocks: tuple[BlockLocalAttention, ...]
    norm: LayerNorm
    last: Linear

    def __init__(
        self,
        rng_key,
        grid_shape,
        factors,
        in_channels,
        context_dim,
        hidden_dim,
        num_heads,
        block_shapes,
    ):
        # far enough for each position to see one of every slice, on both sides
        reach = [max(factor - 1, 1) for factor in factors]
        offsets = tuple(product(*(range(-r, r + 1) for r in reach)))
        others = tuple(offset for offset in offsets if any(offset))
        keys, grids = jax.random.split(rng_key, len(block_shapes) + 3), (grid_shape, factors)
        self.first = self.context = None
        if math.prod(factors) > 1:
            self.first = _Neighbours(keys[0], *grids, in_channels, hidden_dim, others, "earlier")
        if context_dim:
            self.context = _Neighbours(keys[1], *grids, context_dim, hidden_dim, offsets, "all")
        self.blocks = tuple(
            BlockLocalAttention(key, slice_shape(*grids), shape, hidden_dim, num_heads)
            for key, shape in zip(keys[3:], block_shapes, strict=True)
        )
        self.norm = LayerNorm(hidden_dim)
        self.last = Linear(keys[2], hidden_dim, hidden_dim)

    def __call__(self, x, features, h, slices, is_valid):
        if self.first is not None:
            h = h + self.first(x, slices)
        if self.context is not None:
            h = h + self.context(features, slices)
        shape = h.shape
        h = h.reshape(*shape[:2], *self.blocks[0].grid_shape, shape[-1])
        for block in self.blocks:
            h = block(h, None if is_valid is None else is_valid[slices])
        return self.last(self.norm(h)).reshape(shape)


class _Neighbours(eqx.Module):
    """A convolution over neighbours of the places of slices, read from a table of them."""

    weight: Array
    bias: Array
    grid_shape: tuple[int, ...] = eqx.field(static=True)
    factors: tuple[int, ...] = eqx.field(static=True)
    offsets: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    kind: str = eqx.field(static=True)

    def __init__(
        self, rng_key, grid_shape, factors, in_channels: int, out_channels: int, offsets, kind: str
    ):
        bound = 1.0 / math.sqrt(in_channels * len(offsets))
        shape = (out_channels, in_channels, len(offsets))
        weight_key, bias_key = jax.random.split(rng_key)
        self.weight = jax.random.uniform(weight_key, shape, minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(bias_key, shape[:1], minval=-bound, maxval=bound)
        self.grid_shape, self.factors = grid_shape, factors
        self.offsets, self.kind = offsets, kind

    def __call__(self, x: Array, slices, places=slice(None)) -> Array:
        """Return ``(N, slices, places, out_channels)`` from ``(N, positions + 1, in_channels)``."""
        table = slice_neighbours(self.grid_shape, self.factors, self.offsets, self.kind)
        table = jnp.asarray(table, jnp.int32)[slices][:, places]
        taps = x[:, table].reshape(len(x), *table.shape[:2], -1)
        return taps @ self.weight.transpose(2, 1, 0).reshape(-1, len(self.weight)) + self.bias


def with_zeros(x: Array) -> Array:
    """Positions as one axis, ``(N, positions + 1, size)``, with a zero for what is off the grid."""
    return jnp.pad(x.reshape(len(x), -1, x.shape[-1]), ((0, 0), (0, 1), (0, 0)))


def summed(tables: Sequence[Array]) -> Array:
    """Sums of a vector of each axis, for all places in raster order, ``(places, size)``."""
    total = tables[0]
    for table in tables[1:]:
        total = total[..., None, :] + table
    return total.reshape(-1, total.shape[-1])
