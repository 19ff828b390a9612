"""Parts of the last axis by a mask, and back.

Alternating and contiguous masks, the usual ones, need only reshapes and slices, whose derivatives
are as cheap; any other mask takes gathers, whose derivatives scatter.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["merge_parts", "split_parts", "take"]


def split_parts(point: Array, mask: Sequence[bool]) -> tuple[Array, Array]:
    """Return the entries where ``mask`` is True, and those where it is False, in order."""
    num_kept, size = sum(mask), len(mask)
    if _alternates(mask):
        # pairs of neighbours, the last one filled up
        pairs = _lengthen(point, size % 2).reshape(point.shape[:-1] + (-1, 2))
        even, odd = pairs[..., 0], pairs[..., 1][..., : size // 2]
        return (even, odd) if mask[0] else (odd, even)
    if _starts_with(mask, True):
        return point[..., :num_kept], point[..., num_kept:]
    if _starts_with(mask, False):
        return point[..., size - num_kept :], point[..., : size - num_kept]
    kept = np.asarray(mask)
    return point[..., np.flatnonzero(kept)], point[..., np.flatnonzero(~kept)]


def merge_parts(kept: Array, moved: Array, mask: Sequence[bool]) -> Array:
    """Undo :func:`split_parts`; the parts have equal leading shapes."""
    size = len(mask)
    if _alternates(mask):
        even, odd = (kept, moved) if mask[0] else (moved, kept)
        pairs = jnp.stack([even, _lengthen(odd, size % 2)], -1)
        return pairs.reshape(even.shape[:-1] + (-1,))[..., :size]
    if _starts_with(mask, True):
        return jnp.concatenate([kept, moved], -1)
    if _starts_with(mask, False):
        return jnp.concatenate([moved, kept], -1)
    places = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~np.asarray(mask))])
    return jnp.concatenate([kept, moved], -1)[..., np.argsort(places)]


def take(point: Array, order: Sequence[int] | None) -> Array:
    """Return ``point[..., order]``, without a gather for rotations and for the reverse order."""
    if order is None:
        return point
    size, first = len(order), order[0]
    if list(order) == list(range(size))[::-1]:
        return jnp.flip(point, -1)
    if list(order) == [(first + i) % size for i in range(size)]:
        return jnp.concatenate([point[..., first:], point[..., :first]], -1)
    return point[..., np.asarray(order)]


def _alternates(mask: Sequence[bool]) -> bool:
    return len(mask) > 1 and all(a != b for a, b in zip(mask, mask[1:], strict=False))


def _starts_with(mask: Sequence[bool], value: bool) -> bool:
    """Whether all entries equal to ``value`` come before all others."""
    return list(mask) == sorted(mask, reverse=value)


def _lengthen(array: Array, amount: int) -> Array:
    if amount == 0:
        return array
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, amount)])
