"""Transforms one after the other.

Couplings in a row that divide the inputs into the same two parts, as those of alternating masks do,
keep the parts apart: the inputs are divided before the first of them and put together after the
last.
"""

from collections.abc import Sequence
from itertools import groupby

from jax import Array

__all__ = ["apply_couplings", "apply_in_turn", "context_for"]


def apply_in_turn(
    steps: Sequence[tuple], point: Array, context: Array | None
) -> tuple[Array, Array]:
    """Return the image of a point under transforms in turn, and the log-determinant.

    Args:
        steps: pairs of a transform and of whether its inverse is meant.
        point: shape ``batch_shape + (D,)``.
        context: shape broadcastable to ``batch_shape + (context_dim,)``, or None.
    """
    total = 0.0
    for partition, run in groupby(steps, key=lambda step: step[0].partition):
        apply = _apply_each if partition is None else apply_couplings
        point, log_det = apply(list(run), point, context)
        total = total + log_det
    return point, total


def _apply_each(steps: Sequence[tuple], point: Array, context: Array | None):
    total = 0.0
    for transform, inverse in steps:
        apply = transform.inverse_and_log_det if inverse else transform.forward_and_log_det
        point, log_det = apply(point, context_for(transform, context))
        total = total + log_det
    return point, total


def apply_couplings(
    steps: Sequence[tuple], point: Array, context: Array | None
) -> tuple[Array, Array]:
    """Do the same for couplings of one partition."""
    last, total = steps[0][0], 0.0
    kept, moved = last.split(point)
    for coupling, inverse in steps:
        if coupling.mask != last.mask:
            kept, moved = moved, kept
        moved, log_det = coupling.move(kept, moved, context_for(coupling, context), inverse)
        last, total = coupling, total + log_det
    return last.merge(kept, moved), total


def context_for(module, context: Array | None) -> Array | None:
    """Return the context for a module that takes one, else None."""
    return context if getattr(module, "context_dim", 0) else None
