r"""Slices of a grid: every so-many-th position along each axis, and who sees whom among them.

A grid of shape :math:`(n_1, n_2, \ldots)` with factors :math:`(s_1, s_2, \ldots)` falls into
:math:`S = s_1 s_2 \cdots` slices, in raster order of their offsets. Tables give all slices the
shape :math:`(\lceil n_1 / s_1 \rceil, \ldots)`; places that a slice does not have, and neighbours
that are not to be seen, are the number of positions, one more than the last one.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from .checks import check_choice, check_dims

__all__ = ["check_blocks", "check_factors", "slice_neighbours", "slice_places", "slice_shape"]

# Weissenborn et al. 2020, section 4
BLOCK_SHAPES = ((4, 8, 4), (4, 4, 8), (1, 32, 4), (1, 4, 32))


def check_factors(grid_shape: Sequence[int], factors: Sequence[int] | None) -> tuple[int, ...]:
    """Return the factors, None standing for ones, or raise if they do not fit the grid."""
    shape = check_dims("grid_shape", grid_shape)
    factors = (1,) * len(shape) if factors is None else check_dims("factors", factors)
    if len(shape) != len(factors) or any(n < s for n, s in zip(shape, factors, strict=True)):
        raise ValueError(
            f"factors must hold for every axis of grid_shape={shape} a number up to its size, got "
            f"{factors}; pass for example {(1,) * len(shape)}."
        )
    return factors


def check_blocks(
    grid_shape: Sequence[int], block_shapes: Sequence[Sequence[int]] | None
) -> tuple[tuple[int, ...], ...]:
    """Return shapes of blocks no larger than the grid; None stands for those of the paper."""
    count = len(grid_shape)
    if block_shapes is None:
        block_shapes = [(1,) * (count - 3) + block[-count:] for block in BLOCK_SHAPES]
    blocks = [check_dims(f"block_shapes[{i}]", block) for i, block in enumerate(block_shapes)]
    if not blocks or any(len(block) != count for block in blocks):
        raise ValueError(
            f"block_shapes must hold shapes of {count} axes, those of the grid, got "
            f"{tuple(blocks)}; pass for example {((4,) * count,)}."
        )
    return tuple(tuple(map(min, block, grid_shape)) for block in blocks)


def slice_shape(grid_shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the largest slice.

    Example:
        >>> slice_shape((4, 5), (1, 2))
        (4, 3)
    """
    return tuple(-(-n // s) for n, s in zip(grid_shape, factors, strict=True))


@lru_cache(maxsize=128)
def slice_places(grid_shape: tuple[int, ...], factors: tuple[int, ...]) -> np.ndarray:
    """Return the flat position of each place of each slice, shape ``(slices, places)``.

    Example:
        >>> slice_places((3,), (2,)).tolist()
        [[0, 2], [1, 3]]
    """
    return _flat(grid_shape, _coordinates(grid_shape, factors))


@lru_cache(maxsize=128)
def slice_neighbours(
    grid_shape: tuple[int, ...], factors: tuple[int, ...], offsets: tuple, kind: str
) -> np.ndarray:
    """Return the flat positions of neighbours, shape ``(slices, places, offsets)``.

    Args:
        grid_shape: shape of the grid.
        factors: the factors.
        offsets: of the neighbours, one integer an axis.
        kind: ``'all'``, any position; ``'earlier'``, those of earlier slices alone; or ``'own'``,
            those of the own slice, offsets counting its places.

    Example:
        >>> slice_neighbours((4,), (2,), ((-1,), (1,)), "earlier").tolist()
        [[[4, 4], [4, 4]], [[0, 2], [2, 4]]]
    """
    kind = check_choice("kind", kind, ("all", "earlier", "own"))
    places, factors = _coordinates(grid_shape, factors), np.asarray(factors)
    steps = np.asarray(offsets, int).reshape(len(offsets), -1)
    found = places[:, :, None] + steps * (factors if kind == "own" else 1)
    flat, size = _flat(grid_shape, found), prod(grid_shape)
    if kind == "earlier":
        own = np.arange(prod(factors))[:, None, None]
        others = np.ravel_multi_index(np.moveaxis(found % factors, -1, 0), factors)
        flat = np.where(others < own, flat, size)
    flat = np.where(_flat(grid_shape, places)[:, :, None] < size, flat, size)
    flat.setflags(write=False)
    return flat


def _coordinates(grid_shape: Sequence[int], factors: Sequence[int]) -> np.ndarray:
    """Coordinates of each place of each slice, shape ``(slices, places, axes)``."""
    starts = np.array(list(product(*map(range, factors))))
    steps = np.array(list(product(*map(range, slice_shape(grid_shape, factors)))))
    return starts[:, None] + steps * np.asarray(factors)


def _flat(grid_shape: Sequence[int], places: np.ndarray) -> np.ndarray:
    """Flat positions of coordinates, the number of positions for those off the grid."""
    inside = np.all((places >= 0) & (places < np.asarray(grid_shape)), -1)
    flat = np.ravel_multi_index(np.moveaxis(places, -1, 0), grid_shape, mode="clip")
    return np.where(inside, flat, prod(grid_shape))
