"""Transposed convolutions that double a grid, for whole grids, a row, or one position."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..ops._random import check_rng_key

__all__ = ["CausalTranspose"]


class CausalTranspose(eqx.Module):
    r"""The sum :math:`y_p = b + \sum_{q, k :\, 2 q + o_k = p} W_k x_q` on a grid of two axes.

    The offsets are those of the rows 0 and 1 and of the given columns, so that row ``r`` of the
    output sees row ``r // 2`` of the input alone.

    Args:
        rng_key: random key of the starting weights.
        in_channels: channels of the input.
        out_channels: channels of the output.
        columns: offsets of the columns, in a row up to 1.

    Shape:
        ``(N, h, w, in_channels)`` to ``(N, *sides, out_channels)`` with sides up to ``(2 h, 2 w)``;
        the weight is ``(out_channels, in_channels, 2 * len(columns))``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = CausalTranspose(jax.random.key(0), 2, 4, (-1, 0, 1))
        >>> layer(jnp.zeros((3, 4, 4, 2)), (7, 8)).shape
        (3, 7, 8, 4)
    """

    weight: Array
    bias: Array
    columns: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, rng_key: Array, in_channels: int, out_channels: int, columns: Sequence[int]):
        self.columns = tuple(columns)
        # an output sees half of the columns
        bound = 1.0 / math.sqrt(in_channels * ((len(self.columns) + 1) // 2))
        shape = (out_channels, in_channels, 2 * len(self.columns))
        weight_key, bias_key = jax.random.split(check_rng_key(rng_key))
        self.weight = jax.random.uniform(weight_key, shape, minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(bias_key, shape[:1], minval=-bound, maxval=bound)

    def _kernel(self) -> Array:
        """Weights ``(2, columns, in_channels, out_channels)``."""
        weight = self.weight.transpose(2, 1, 0)
        return weight.reshape(2, len(self.columns), *weight.shape[1:])

    def __call__(self, x: Array, sides: Sequence[int]) -> Array:
        rows = [self._columns(x, weights, sides[1]) for weights in self._kernel()]
        y = jnp.stack(rows, 2)
        return y.reshape(len(x), -1, *y.shape[3:])[:, : sides[0]]

    def row(self, x: Array, parity: Array, num_columns: int) -> Array:
        """Return an even or odd row ``(N, num_columns, out_channels)``, of ``(N, w, ...)``."""
        return self._columns(x, self._kernel()[parity], num_columns)

    def _columns(self, x: Array, weights: Array, num_columns: int) -> Array:
        """Double the last axis of the grid, with weights of one row of the kernel."""
        width, found = x.shape[-2], []
        # column 2 (q + shift) + parity of the output gets column q of the input
        taps = [divmod(column, 2) for column in self.columns]
        for parity in (0, 1):
            copies = [_shifted(x, shift) for shift, p in taps if p == parity]
            chosen = [w for w, (_, p) in zip(weights, taps, strict=True) if p == parity]
            found.append(jnp.concatenate(copies, -1) @ jnp.concatenate(chosen) + self.bias)
        y = jnp.stack(found, -2)
        return y.reshape(*x.shape[:-2], 2 * width, -1)[..., :num_columns, :]

    def position(self, x: Array, row: Array, column: Array) -> Array:
        """Return the output at a position of these parities, of columns 0 and 1 as offsets."""
        return x @ self.weight[:, :, 2 * row + column].T + self.bias


def _shifted(x: Array, shift: int) -> Array:
    """Move columns to the right by a number, or to the left by a negative one."""
    if shift == 0:
        return x
    zeros = jnp.zeros_like(x[..., : abs(shift), :])
    parts = [zeros, x[..., :-shift, :]] if shift > 0 else [x[..., -shift:, :], zeros]
    return jnp.concatenate(parts, -2)
