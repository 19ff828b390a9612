"""Contexts of networks on a grid: a vector, a label or an image."""

from collections.abc import Sequence

import numpy as np

from .checks import check_choice, check_positive_int

__all__ = ["check_context_kind", "check_grid_context", "check_labels", "context_event_shape"]

KINDS = ("vector", "label", "image")


def check_context_kind(context_dim: int, context_kind: str) -> tuple[int, str]:
    """Return size and kind of a context, or raise."""
    check_choice("context_kind", context_kind, KINDS)
    return check_positive_int("context_dim", context_dim, minimum=0), context_kind


def context_event_shape(
    context_dim: int, context_kind: str, grid_shape: Sequence[int]
) -> tuple[int, ...]:
    """Return the shape of one context: ``()`` for a label, which is an integer."""
    return {
        "vector": (context_dim,),
        "label": (),
        "image": (context_dim, *grid_shape),
    }[context_kind]


def check_labels(labels: np.ndarray, context_dim: int) -> None:
    """Raise unless labels are whole numbers below ``context_dim``, of integer type or another."""
    fits = (labels >= 0) & (labels < context_dim) & (labels == np.floor(labels))
    if not fits.all():
        raise ValueError(
            f"context must hold labels, whole numbers from 0 to {context_dim - 1}, got "
            f"{labels[~fits].flat[0]}; pass labels inside that range, or build the network with a "
            "larger context_dim."
        )


def check_grid_context(shape: Sequence[int] | None, context_dim: int, event_shape) -> None:
    """Raise unless a context of ``shape`` (None: no context) ends in ``event_shape``."""
    if shape is None and context_dim == 0:
        return
    if shape is None:
        raise ValueError(
            f"context must be given to a network built with context_dim={context_dim}, got None; "
            f"pass an array of shape (...) + {tuple(event_shape)}."
        )
    if context_dim == 0:
        raise ValueError(
            f"context must be None for a network built with context_dim=0, got shape "
            f"{tuple(shape)}; build the network with its context_dim."
        )
    if tuple(shape)[len(shape) - len(event_shape) :] != tuple(event_shape):
        raise ValueError(
            f"context must have shape (...) + {tuple(event_shape)}, got {tuple(shape)}; see "
            "context_dim and context_kind of the network."
        )
