r"""Masks and degrees of masked networks and couplings, in NumPy.

An autoregressive network over ``D`` inputs visits them in some order. The *rank* of an input is its
place in that order, ``0, ..., D - 1``. A hidden unit of *degree* ``m`` may see the inputs of rank
below ``m`` (so degree 0 sees the context alone), and an output of rank ``r`` may see the hidden
units of degree at most ``r``: output ``r`` then depends on the inputs of rank below ``r`` only
(Germain et al. 2015, MADE, equations 8-13, with degrees counted from zero).

Degrees are assigned in ascending order, so that the units of one degree form one contiguous slice
and the incremental inverse computes each unit once.
"""

from functools import lru_cache

import numpy as np

from .checks import check_choice, check_permutation

__all__ = [
    "block_masks",
    "coupling_mask",
    "hidden_degrees",
    "input_ranks",
    "made_masks",
    "resolve_order",
    "spread_order",
]

GOLDEN_RATIO = (1.0 + 5.0**0.5) / 2.0


def resolve_order(order, input_dim: int) -> tuple[int, ...]:
    """Turn ``'natural'``, ``'reversed'`` or a permutation into the tuple of inputs as visited."""
    if isinstance(order, str):
        check_choice("order", order, ("natural", "reversed"))
        visited = range(input_dim)
        return tuple(visited if order == "natural" else reversed(visited))
    return check_permutation("order", order, input_dim)


def spread_order(input_dim: int) -> tuple[int, ...]:
    r"""Return the inputs sorted by the fractional part of :math:`i \varphi`, the golden ratio.

    Neighbours in a table, often of one kind, end up far apart. With two inputs the order is the
    natural one.
    """
    return tuple(np.argsort(np.arange(input_dim) * GOLDEN_RATIO % 1.0, kind="stable").tolist())


def input_ranks(order: tuple[int, ...]) -> np.ndarray:
    """Return the rank of every input, shape ``(D,)``: ``ranks[order[i]] == i``."""
    return np.argsort(np.asarray(order))


def hidden_degrees(input_dim: int, width: int, has_context: bool) -> np.ndarray:
    """Return ``width`` ascending degrees spread evenly over the useful range.

    Without a context a unit of degree 0 would be a constant, so degrees run from 1 to ``D - 1``
    (all are 0 if ``D == 1``); with one they run from 0 to ``D - 1``.
    """
    lowest = 0 if has_context or input_dim == 1 else 1
    return lowest + (np.arange(width) * (input_dim - lowest)) // width


@lru_cache(maxsize=512)
def made_masks(
    order: tuple[int, ...], hidden_dims: tuple[int, ...], num_params: int, has_context: bool
) -> tuple[np.ndarray, ...]:
    """Return the boolean weight masks of a masked network, each of shape ``(out, in)``.

    Args:
        order: inputs in the order in which they are visited, a permutation of ``0, ..., D - 1``.
        hidden_dims: widths of the hidden layers; empty gives one masked linear layer.
        num_params: outputs per input; the output layer is parameters-major, its unit
            ``p * D + d`` is parameter ``p`` of input ``d``.
        has_context: whether hidden units of degree 0 are of use.
    """
    ranks = input_ranks(order)
    masks, seen = [], None
    for width in hidden_dims:
        degrees = hidden_degrees(len(order), width, has_context)
        if seen is None:
            masks.append(ranks[None, :] < degrees[:, None])
        else:
            masks.append(seen[None, :] <= degrees[:, None])
        seen = degrees
    if seen is None:
        last = ranks[None, :] < ranks[:, None]
    else:
        last = seen[None, :] <= ranks[:, None]
    masks.append(np.tile(last, (num_params, 1)))
    for mask in masks:
        mask.setflags(write=False)
    return tuple(masks)


def coupling_mask(mask, input_dim: int) -> tuple[bool, ...]:
    """Turn a coupling mask into a tuple of bools, True where the input is left unchanged.

    Args:
        mask: ``'alternate'`` (even inputs unchanged), ``'alternate_flipped'`` (odd ones),
            ``'half'`` (first half), ``'half_flipped'`` (second half), or ``D`` booleans.
        input_dim: ``D``.

    Raises:
        ValueError: if the mask has another length. A mask all True changes nothing and is refused;
            one all False (the only way for ``D == 1``) is an elementwise map of the context.
    """
    index = np.arange(input_dim)
    named = {
        "alternate": index % 2 == 0,
        "alternate_flipped": index % 2 == 1,
        "half": index < (input_dim + 1) // 2,
        "half_flipped": index >= (input_dim + 1) // 2,
    }
    if isinstance(mask, str):
        values = named[check_choice("mask", mask, tuple(named))]
        if input_dim == 1:
            values = np.zeros(1, dtype=bool)
    else:
        values = np.asarray(mask)
    if values.shape != (input_dim,) or values.dtype != bool:
        raise ValueError(
            f"mask must hold input_dim={input_dim} booleans, got shape {values.shape} of "
            f"{values.dtype}; pass for example numpy.arange({input_dim}) % 2 == 0."
        )
    if values.all():
        raise ValueError(
            "mask must leave at least one input to transform, got all True; set one entry False."
        )
    return tuple(bool(v) for v in values)


def block_masks(input_dim: int, num_out: int, num_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boolean masks of the diagonal blocks and of the blocks below them.

    Units are sorted by the input to which they belong: unit ``j`` of input ``d`` is row
    ``d * num_out + j`` (column ``d * num_in + j``); both masks have shape
    ``(input_dim * num_out, input_dim * num_in)``.
    """
    block = np.ones((num_out, num_in))
    diagonal = np.kron(np.eye(input_dim), block) > 0
    below = np.kron(np.tri(input_dim, k=-1), block) > 0
    return diagonal, below
