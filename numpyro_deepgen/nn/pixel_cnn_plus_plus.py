"""PixelCNN++: two streams of gated residual blocks on several grids."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import elu

from .._numerics.checks import check_positive, check_positive_int
from .._numerics.orders import causal_offsets, check_image_grid, row_offsets
from ..ops._random import check_rng_key
from ._linear import Linear
from ._shifted_steps import init_positions, init_rows, next_position, next_row, unchanged, when
from ._shifted_stream import Drop, ShiftedStream, halved
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

    Dropout is random where the call is given a key, ``network(x, rng_key=...)``; without one, and
    in steps and thus samples, nothing is dropped.

    Args:
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> network = PixelCNNPlusPlus(jax.random.key(0), (8, 8), num_params=17, num_blocks=1)
        >>> network(jnp.zeros((5, 8, 8, 1))).shape
        (5, 8, 8, 17)

    References:
        Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++, sections 2.3-2.5 and figure 2;
        Ramachandran et al. 2017, Fast Generation for Convolutional Autoregressive Models.
    """

    vertical: ShiftedStream
    horizontal: ShiftedStream
    last: Linear
    num_scales: int = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
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
        keys = jax.random.split(check_rng_key(rng_key), 3)
        # a number one beside the inputs tells positions from what is off the grid
        num_inputs = in_channels + 1
        above = [(row - 1, column) for row, column in row_offsets(3, 0)]
        self.vertical = ShiftedStream(
            keys[0], num_inputs, width, above, row_offsets(3, 0), *sizes, has_above=False
        )
        earlier, corner = causal_offsets((3, 3), False), [(-1, -1), (-1, 0), (0, -1), (0, 0)]
        self.horizontal = ShiftedStream(
            keys[1], num_inputs, width, earlier, corner, *sizes, has_above=True
        )
        self.last = Linear(keys[2], width, num_params)

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Shapes of the grids, the finest one first."""
        return [
            tuple(-(-n // 2**scale) for n in self.grid_shape) for scale in range(self.num_scales)
        ]

    def _pyramid(self, features: Array | None) -> list[Array | None]:
        """Features of a context for each grid."""
        if features is None or self.context_kind != "image":
            return [features] * self.num_scales
        pyramid = [features]
        for _ in range(self.num_scales - 1):
            pyramid.append(halved(pyramid[-1]))
        return pyramid

    def run(self, x, features, rng_key: Array | None = None):
        drop = unchanged if rng_key is None or not self.dropout else Drop(rng_key, self.dropout)
        x, pyramid = with_one(x), self._pyramid(features)
        _, found = self.vertical.run(self.vertical.first(x), None, pyramid, drop)
        above = [self.horizontal.project(*pair) for pair in enumerate(found)]
        h, _ = self.horizontal.run(self.horizontal.first(x), above, pyramid, drop)
        return self.last(elu(h))

    def init_cache(self, num_rows: int, context: Array | None = None) -> dict:
        """Return past rows of the vertical stream and past inputs of the horizontal one."""
        dtype, num_columns = self.last.weight.dtype, self.grid_shape[1]
        pyramid, line = self._pyramid(self.features(context)), self.in_channels + 1
        in_turn = [None if f is None else f.reshape(len(f), -1, self.context_dim) for f in pyramid]
        return {
            "rows": {
                "line": jnp.zeros((num_rows, num_columns, line), dtype),
                "past": jnp.zeros((num_rows, 1, num_columns, line), dtype),
                "grid": init_rows(self, num_rows, dtype),
            },
            "first": self.horizontal.first.init_buffer(num_rows, self.grid_shape),
            "positions": init_positions(self, num_rows, dtype),
            "contexts": pyramid,
            "features": [None if f is None else f.swapaxes(0, 1) for f in in_turn],
        }

    def step(self, cache: dict, previous: Array, index: Array) -> tuple[Array, dict]:
        row, column = jnp.divmod(index, self.grid_shape[1])
        x, rows = with_one(previous), cache["rows"]
        # at the first step there is no position before; its place is the end of the row
        line = rows["line"].at[:, column - 1].set(jnp.where(index > 0, x, 0.0))

        def advance(rows):
            window = jnp.concatenate([rows["past"], rows["line"][:, None]], 1)
            v = self.vertical.first.row(window)
            _, grid = next_row(self, v, row, rows["grid"], cache["contexts"])
            return {**rows, "past": window[:, 1:], "grid": grid}

        rows = when(column == 0, advance, {**rows, "line": line})
        h, first = self.horizontal.first.step(cache["first"], x, index, lag=1)
        h, positions = next_position(
            self, h, row, column, cache["positions"], rows["grid"], cache["features"]
        )
        cache = {**cache, "rows": rows, "first": first, "positions": positions}
        return self.last(elu(h)), cache


def with_one(x: Array) -> Array:
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
