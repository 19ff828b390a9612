"""Convolutions over chosen neighbours, for whole grids and for one position after another."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .._numerics.checks import check_positive_int
from .._numerics.orders import check_offsets, tap_table
from ..ops._random import check_rng_key
from ._linear import flat_product

__all__ = ["CausalConv"]


class CausalConv(eqx.Module):
    r"""The sum :math:`y_p = b + \sum_k W_k x_{s p + o_k}` over offsets, zero outside the grid.

    There are weights for the offsets alone, so that no masked entry exists. A whole grid is one
    matrix product: of copies shifted along the last axis, with as many outputs side by side as
    there are offsets along the other axes, which are then shifted and added. That moves less than
    a copy for every offset, in the gradients too.

    Args:
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> conv = CausalConv(jax.random.key(0), 2, 4, [(-1, 0), (0, -1)])
        >>> conv(jnp.zeros((3, 8, 8, 2))).shape
        (3, 8, 8, 4)
    """

    weight: Array
    bias: Array
    in_channels: int = eqx.field(static=True)
    offsets: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        in_channels: int,
        out_channels: int,
        offsets: Sequence[tuple[int, ...]],
        stride: int = 1,
        init_scale: float = 1.0,
    ):
        self.in_channels, self.stride = in_channels, check_positive_int("stride", stride)
        self.offsets = tuple(tuple(offset) for offset in offsets)
        check_offsets(self.offsets)
        bound = 1.0 / math.sqrt(in_channels * len(self.offsets))
        shape = (out_channels, in_channels, len(self.offsets))
        weight_key, bias_key = jax.random.split(check_rng_key(rng_key))
        weight = jax.random.uniform(weight_key, shape, minval=-bound, maxval=bound)
        self.weight = init_scale * weight
        self.bias = jax.random.uniform(bias_key, shape[:1], minval=-bound, maxval=bound)

    def __call__(self, x: Array) -> Array:
        lines, columns = self._lines_and_columns()
        ahead, step = (0,) * len(lines[0]), self.stride
        # neighbours along the last axis before the product, along the others behind it
        copies = [_moved(x, (*ahead, c), (*(1 for _ in ahead), step)) for c in columns]
        y = flat_product(jnp.concatenate(copies, -1), self._grid_matrix(lines, columns))
        parts = zip(jnp.split(y, len(lines), -1), lines, strict=True)
        return sum(
            (_moved(part, (*line, 0), (*(step for _ in line), 1)) for part, line in parts),
            self.bias,
        )

    def row(self, window: Array) -> Array:
        """Return one row of outputs, from as many rows as the offsets reach over.

        Args:
            window: shape ``(N, rows, columns, in_channels)``, of a grid of two axes.
        """
        first = min(row for row, _ in self.offsets)
        copies = [
            _moved(window[:, row - first], (column,), (self.stride,))
            for row, column in self.offsets
        ]
        return flat_product(jnp.concatenate(copies, -1), self._matrix()) + self.bias

    def _matrix(self) -> Array:
        """The weights as one matrix, of shifted copies side by side."""
        return self.weight.transpose(2, 1, 0).reshape(-1, self.weight.shape[0])

    def _lines_and_columns(self) -> tuple[list[tuple[int, ...]], list[int]]:
        """The offsets along all axes but the last one, and those along the last."""
        lines, columns = zip(*((offset[:-1], offset[-1]) for offset in self.offsets), strict=True)
        return sorted(set(lines)), sorted(set(columns))

    def _grid_matrix(self, lines: list, columns: list) -> Array:
        """The weights as one matrix, of copies for the columns and parts for the lines."""
        pairs = [[(*line, column) for line in lines] for column in columns]
        chosen = [[[o == pair for pair in row] for row in pairs] for o in self.offsets]
        kernel = jnp.einsum("oik,kcl->cilo", self.weight, jnp.asarray(chosen, self.weight.dtype))
        return kernel.reshape(len(columns) * self.in_channels, -1)

    def init_buffer(self, num_rows: int, grid_shape: tuple[int, ...]) -> Array:
        """Return a ring of past inputs; see :func:`tap_table`."""
        length = tap_table(grid_shape, self.offsets)[1]
        return {
            "ring": jnp.zeros((length + 1, num_rows, self.in_channels), self.weight.dtype),
            "table": jnp.asarray(tap_table(grid_shape, self.offsets)[0], jnp.int32),
        }

    def step(self, buffer: dict, x: Array, index: Array, lag: int = 0) -> tuple[Array, dict]:
        """Return the output at position ``index``, given the input at ``index - lag``."""
        buffer = self.write(buffer, x, index - lag)
        return self.read(buffer, index), buffer

    def write(self, buffer: dict, x: Array, index: Array) -> dict:
        """Keep the input at a position."""
        length = buffer["ring"].shape[0] - 1
        return {**buffer, "ring": buffer["ring"].at[index % length].set(x)}

    def read(self, buffer: dict, index: Array) -> Array:
        """Return the output whose offsets count from the input's position ``index``."""
        slots = buffer["table"][index]
        taps = jnp.concatenate([buffer["ring"][slots[k]] for k in range(len(self.offsets))], -1)
        return taps @ self._matrix() + self.bias


def _moved(x: Array, offset: Sequence[int], steps: Sequence[int]) -> Array:
    """Return ``y[p] = x[steps * p + offset]`` along the axes of a grid, zero outside it."""
    config = [(0, 0, 0), *((-o, o, 0) for o in offset), (0, 0, 0)]
    y = lax.pad(x, jnp.zeros((), x.dtype), config) if any(offset) else x
    return y[(slice(None), *(slice(None, None, step) for step in steps))]
