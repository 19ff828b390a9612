r"""Orders in which the positions of a grid are visited, and the neighbours that come earlier.

An order is a tuple of the flat (row-major) positions as they are visited.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import count, product

import numpy as np

from .checks import check_choice, check_dims, check_permutation, check_positive_int
from .subscale import check_factors, slice_places

__all__ = [
    "causal_offsets",
    "check_grid_axes",
    "check_image_grid",
    "check_offsets",
    "left_offsets",
    "raster_order",
    "random_order",
    "resolve_orders",
    "reverse_order",
    "row_offsets",
    "snake_order",
    "subscale_order",
    "tap_table",
]

Order = tuple[int, ...]
Offsets = tuple[tuple[int, ...], ...]


def raster_order(grid_shape: Sequence[int]) -> Order:
    """Return the positions row by row.

    Args:
        grid_shape: shape of the grid, any number of axes.

    Example:
        >>> raster_order((2, 2))
        (0, 1, 2, 3)
    """
    return tuple(range(_size(grid_shape)))


def reverse_order(grid_shape: Sequence[int]) -> Order:
    """Return the positions from the last one to the first.

    Args:
        grid_shape: shape of the grid, any number of axes.

    Example:
        >>> reverse_order((2, 2))
        (3, 2, 1, 0)
    """
    return tuple(reversed(range(_size(grid_shape))))


def snake_order(grid_shape: Sequence[int]) -> Order:
    """Return the positions row by row, every other row backwards.

    Args:
        grid_shape: shape of the grid, any number of axes; rows are along the last one.

    Example:
        >>> snake_order((2, 3))
        (0, 1, 2, 5, 4, 3)
    """
    rows = np.arange(_size(grid_shape)).reshape(-1, grid_shape[-1])
    rows[1::2] = rows[1::2, ::-1]
    return tuple(rows.ravel().tolist())


def random_order(grid_shape: Sequence[int], seed: int = 0) -> Order:
    """Return the positions in a random order, the same for the same seed.

    Args:
        grid_shape: shape of the grid, any number of axes.
        seed: seed of NumPy's generator.

    Example:
        >>> sorted(random_order((2, 2), seed=3))
        [0, 1, 2, 3]
    """
    return tuple(np.random.default_rng(seed).permutation(_size(grid_shape)).tolist())


def subscale_order(grid_shape: Sequence[int], factors: Sequence[int]) -> Order:
    r"""Return the positions slice by slice, a slice being every ``factors``-th position.

    A grid of shape :math:`(s_1 n_1, s_2 n_2, \ldots)` falls into :math:`s_1 s_2 \cdots` slices of
    shape :math:`(n_1, n_2, \ldots)`. Each slice is visited in raster order. Where a factor does
    not divide its axis, the later slices are smaller.

    Args:
        grid_shape: shape of the grid.
        factors: the :math:`s`, one an axis, no larger than the axis.

    Raises:
        ValueError: if a factor is larger than its axis, or there is not one for each.

    Example:
        >>> subscale_order((2, 4), (1, 2))
        (0, 2, 4, 6, 1, 3, 5, 7)

    References:
        Weissenborn et al. 2020, Scaling Autoregressive Video Models, section 3.2; Menick &
        Kalchbrenner 2019, Generating High Fidelity Images with Subscale Pixel Networks.
    """
    factors = check_factors(grid_shape, factors)
    places = slice_places(tuple(grid_shape), factors)
    return tuple(places[places < _size(grid_shape)].tolist())


NAMED = {
    "raster": raster_order,
    "reverse": reverse_order,
    "random": random_order,
    "snake": snake_order,
}


def resolve_orders(order, grid_shape: Sequence[int]) -> tuple[Order, ...]:
    """Turn a name, a permutation, or a list of these into a tuple of orders.

    The ``k``-th ``'random'`` of a list, counted from 0, is :func:`random_order` of seed ``k``.
    """
    if isinstance(order, str):
        return (NAMED[check_choice("order", order, tuple(NAMED))](grid_shape),)
    order = list(order)
    if order and all(isinstance(o, str) or np.ndim(o) == 1 for o in order):
        seeds = count()
        return tuple(
            random_order(grid_shape, next(seeds))
            if isinstance(o, str) and o == "random"
            else resolve_orders(o, grid_shape)[0]
            for o in order
        )
    return (check_permutation("order", order, _size(grid_shape)),)


def causal_offsets(kernel_size: Sequence[int], include_center: bool) -> Offsets:
    """Return the offsets of a kernel centred on a position that come before it in raster order.

    Args:
        kernel_size: odd sizes, one an axis; 3 or more without the centre.
        include_center: whether the position itself is one of them.
    """
    reach = [_half("kernel_size", size, include_center) for size in kernel_size]
    offsets = product(*(range(-r, r + 1) for r in reach))
    zero = (0,) * len(reach)
    return tuple(o for o in offsets if o < zero or (include_center and o == zero))


def row_offsets(kernel_size: int, last_row: int) -> Offsets:
    """Return whole rows of a kernel of two axes: those from ``-(kernel_size // 2)`` on.

    Args:
        kernel_size: odd size.
        last_row: offset of the last row, 0 or negative.
    """
    reach = _half("kernel_size", kernel_size)
    rows = range(min(-reach, last_row), last_row + 1)
    return tuple(product(rows, range(-reach, reach + 1)))


def left_offsets(kernel_size: int, include_center: bool) -> Offsets:
    """Return the offsets to the left in the same row, of a kernel of two axes.

    Args:
        kernel_size: odd size; half of it is the reach; 3 or more without the centre.
        include_center: whether the position itself is one of them.
    """
    reach = _half("kernel_size", kernel_size, include_center)
    return tuple((0, o) for o in range(-reach, int(include_center)))


def check_grid_axes(grid_shape: tuple[int, ...]) -> None:
    """Raise unless a grid has one to three axes."""
    if not 1 <= len(grid_shape) <= 3:
        raise ValueError(
            f"grid_shape must have one to three axes, got {grid_shape}; pass for example (28, 28)."
        )


def check_image_grid(grid_shape: tuple[int, ...]) -> None:
    """Raise unless a grid has two axes."""
    if len(grid_shape) != 2:
        raise ValueError(
            f"grid_shape must have two axes, got {grid_shape}; pass for example (28, 28)."
        )


def check_offsets(offsets: Offsets) -> None:
    """Raise unless there are offsets, all of the same one to three axes."""
    counts = {len(offset) for offset in offsets}
    if len(counts) != 1 or not counts <= {1, 2, 3}:
        raise ValueError(
            f"offsets must hold tuples of one to three integers, all as many, got {offsets}; pass "
            "for example [(-1, 0), (0, -1)]."
        )


@lru_cache(maxsize=512)
def tap_table(grid_shape: tuple[int, ...], offsets: Offsets) -> tuple[np.ndarray, int]:
    """Return where a ring of past positions holds the neighbours of each, and its length ``L``.

    The ring keeps position ``i`` in slot ``i % L``; slot ``L`` stands for what is off the grid.

    Returns:
        Array of shape ``(positions, offsets)``, and ``L``.
    """
    places = np.stack(np.unravel_index(np.arange(_size(grid_shape)), grid_shape), -1)
    found = places[:, None, :] + np.asarray(offsets, dtype=int).reshape(1, len(offsets), -1)
    inside = np.all((found >= 0) & (found < np.asarray(grid_shape)), -1)
    flat = np.ravel_multi_index(np.moveaxis(found, -1, 0), grid_shape, mode="clip")
    back = np.where(inside, np.arange(len(places))[:, None] - flat, 0)
    length = int(back.max()) + 1
    table = np.where(inside, flat % length, length)
    table.setflags(write=False)
    return table, length


def _half(name: str, size: int, include_center: bool = True) -> int:
    if check_positive_int(name, size, 1 if include_center else 3) % 2 == 0:
        raise ValueError(f"{name} must be odd, got {size}; pass for example {size + 1}.")
    return size // 2


def _size(grid_shape: Sequence[int]) -> int:
    return int(np.prod(check_dims("grid_shape", grid_shape)))
