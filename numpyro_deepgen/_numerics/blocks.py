r"""Blocks of a grid: which block and place in it a position has, and how far places are apart.

A grid is filled up at the end of each axis to whole blocks; blocks, and places inside, go in raster
order. Positions of a block are visited in the order of their places in it.
"""

from functools import lru_cache
from math import prod

import numpy as np

__all__ = ["block_counts", "block_distances", "block_places", "block_presence"]


def block_counts(grid_shape: tuple[int, ...], block_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of blocks along each axis.

    Example:
        >>> block_counts((4, 5), (2, 2))
        (2, 3)
    """
    return tuple(-(-n // b) for n, b in zip(grid_shape, block_shape, strict=True))


@lru_cache(maxsize=128)
def block_places(grid_shape: tuple[int, ...], block_shape: tuple[int, ...]) -> np.ndarray:
    """Return the block of each position and its place there, shape ``(2, positions)``.

    Example:
        >>> block_places((3,), (2,)).tolist()
        [[0, 0, 1], [0, 1, 0]]
    """
    places = np.stack(np.unravel_index(np.arange(prod(grid_shape)), grid_shape))
    shape = np.asarray(block_shape)[:, None]
    blocks = np.ravel_multi_index(tuple(places // shape), block_counts(grid_shape, block_shape))
    return np.stack([blocks, np.ravel_multi_index(tuple(places % shape), block_shape)])


@lru_cache(maxsize=128)
def block_presence(grid_shape: tuple[int, ...], block_shape: tuple[int, ...]) -> np.ndarray:
    """Return whether a place of a block lies on the grid, shape ``(blocks, places)``."""
    found = np.zeros((prod(block_counts(grid_shape, block_shape)), prod(block_shape)), bool)
    found[tuple(block_places(grid_shape, block_shape))] = True
    return found


@lru_cache(maxsize=128)
def block_distances(block_shape: tuple[int, ...]) -> np.ndarray:
    """Return the place of each pair's distance in a table from ``1 - b`` to ``b - 1``, by axis.

    Returns:
        Shape ``(axes, places, places)``.

    Example:
        >>> block_distances((2,)).tolist()
        [[[1, 0], [2, 1]]]
    """
    places = np.stack(np.unravel_index(np.arange(prod(block_shape)), block_shape))
    shift = np.asarray(block_shape)[:, None, None] - 1
    return places[:, :, None] - places[:, None, :] + shift
