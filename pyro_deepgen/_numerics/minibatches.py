"""Which rows the minibatch of each step of training holds."""

import numpy as np

__all__ = ["minibatch_rows"]


def minibatch_rows(size: int, batch_size: int, seed: int, start: int, stop: int) -> np.ndarray:
    """Rows of the minibatches of the steps ``start, ..., stop - 1``.

    An epoch goes through a random permutation of all rows, drawn anew for each; what is left at
    its end, fewer rows than a minibatch, waits for another. The rows are a function of the seed
    and the step alone.

    Args:
        size: number of rows.
        batch_size: number of rows of a minibatch, at most ``size``.
        seed: a non-negative integer.
        start: first step.
        stop: last step, excluded.

    Returns:
        Integers in ``[0, size)``, shape ``(stop - start, batch_size)``, no row twice in a line.
    """
    per_epoch = size // batch_size
    rows = np.empty((stop - start, batch_size), np.int32)
    for epoch in range(start // per_epoch, -(-stop // per_epoch)):
        order = np.random.default_rng([seed, epoch]).permutation(size)
        batches = order[: per_epoch * batch_size].reshape(per_epoch, batch_size)
        first = epoch * per_epoch
        low, high = max(start, first), min(stop, first + per_epoch)
        rows[low - start : high - start] = batches[low - first : high - first]
    return rows
