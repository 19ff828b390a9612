"""Arguments of a step: all of them, or the rows of a minibatch."""

from collections.abc import Callable
from operator import getitem

import numpy as np

from ..._numerics.checks import check_positive_int
from ..._numerics.minibatches import minibatch_rows

__all__ = ["Minibatches", "check_minibatches"]


class Minibatches:
    """The positional arguments of a fit, whole or cut into minibatches.

    Args:
        args: positional arguments.
        is_array: tells an array of the host.
        batch_size: number of rows of a minibatch, or None for all.
        seed: function that draws the seed of the order of the rows.
        select: function of an array and the numbers of rows that gives these rows.
    """

    def __init__(
        self,
        args: tuple,
        is_array: Callable[[object], bool],
        batch_size: int | None,
        seed: Callable[[], int],
        select: Callable = getitem,
    ):
        self.places = tuple(i for i, arg in enumerate(args) if is_array(arg))
        self.arrays = tuple(args[i] for i in self.places) if batch_size else ()
        self.batch_size, self.seed, self._args, self._select = batch_size, 0, args, select
        if batch_size is not None:
            self.size = check_minibatches(batch_size, [array.shape for array in self.arrays])
            self.seed = seed()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of each step, shape ``(stop - start, batch_size)``, or no columns for all rows."""
        if self.batch_size is None:
            return np.zeros((stop - start, 0), np.int32)
        return minibatch_rows(self.size, self.batch_size, self.seed, start, stop)

    def take(self, rows, arrays: tuple | None = None) -> tuple:
        """The arguments with the arrays cut to these rows.

        Args:
            rows: rows of one step, as an array of the host.
            arrays: the arrays where a program is compiled that takes them, else those held.
        """
        if self.batch_size is None:
            return self._args
        args = list(self._args)
        for place, array in zip(
            self.places, self.arrays if arrays is None else arrays, strict=True
        ):
            args[place] = self._select(array, rows)
        return tuple(args)


def check_minibatches(batch_size: int, shapes: list[tuple[int, ...]]) -> int:
    """Return the common number of rows of the arrays, or raise.

    Raises:
        TypeError: if ``batch_size`` is no integer.
        ValueError: if there is no array, the arrays differ in rows, or have fewer than a minibatch.
    """
    check_positive_int("batch_size", batch_size)
    sizes = {shape[0] if shape else None for shape in map(tuple, shapes)}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            "args must hold arrays of one leading dimension to be cut into minibatches, got "
            f"shapes {[tuple(shape) for shape in shapes]}; pass what is no data as kwargs, or "
            "batch_size=None."
        )
    (size,) = sizes
    if batch_size > size:
        raise ValueError(
            f"batch_size must be at most the {size} rows of args, got {batch_size}; pass a "
            "smaller number, or None for all."
        )
    return size
