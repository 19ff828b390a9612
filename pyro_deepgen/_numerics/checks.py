"""Argument checks whose messages name the argument, the rule, the value and the remedy."""

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = [
    "check_choice",
    "check_context_shape",
    "check_dims",
    "check_event_shape",
    "check_integer",
    "check_levels",
    "check_permutation",
    "check_positive",
    "check_positive_int",
]


def check_positive_int(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as an int, or raise if it is not an integer of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(
            f"{name} must be an integer, got {value!r}; pass a whole number >= {minimum}."
        )
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}; pass a larger number.")
    return int(value)


def check_positive(name: str, value: Any, upper: float = float("inf")) -> float:
    """Return ``value`` as a float, or raise if it does not lie in ``(0, upper)``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}; pass a float.")
    if not 0.0 < value < upper:
        rule = "positive and finite" if upper == float("inf") else f"between 0 and {upper}"
        raise ValueError(f"{name} must be {rule}, got {value}; pass a value inside that range.")
    return float(value)


def check_dims(name: str, value: Any) -> tuple[int, ...]:
    """Return ``value`` as a tuple of positive ints (it may be empty)."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(
            f"{name} must be a sequence of positive integers, got {value!r}; "
            "pass for example (64, 64)."
        )
    return tuple(check_positive_int(f"{name}[{i}]", v) for i, v in enumerate(value))


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise."""
    if value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {options}, got {value!r}; choose one of these.")
    return value


def check_permutation(name: str, value: Any, size: int) -> tuple[int, ...]:
    """Return ``value`` as a tuple that holds each of ``0, ..., size - 1`` once, else raise."""
    array = np.asarray(value)
    if array.shape != (size,) or sorted(array.tolist()) != list(range(size)):
        raise ValueError(
            f"{name} must hold each of 0, ..., {size - 1} exactly once, got {array.tolist()}; "
            f"pass for example numpy.random.permutation({size})."
        )
    return tuple(int(v) for v in array)


def check_event_shape(name: str, shape: Sequence[int], input_dim: int) -> None:
    """Raise unless the last entry of ``shape`` is ``input_dim``."""
    if len(shape) == 0 or shape[-1] != input_dim:
        raise ValueError(
            f"{name} must have {input_dim} entries in its last dimension, got shape "
            f"{tuple(shape)}; pass an array of shape (..., {input_dim})."
        )


def check_context_shape(shape: Sequence[int] | None, context_dim: int) -> None:
    """Raise unless a context of ``shape`` (None: no context) fits ``context_dim``."""
    if shape is None:
        if context_dim:
            raise ValueError(
                f"context must be given to a module built with context_dim={context_dim}, "
                f"got None; pass an array of shape (..., {context_dim})."
            )
    elif context_dim == 0:
        raise ValueError(
            f"context must be None for a module built with context_dim=0, got shape "
            f"{tuple(shape)}; build the module with context_dim={shape[-1] if shape else 1}."
        )
    elif len(shape) == 0 or shape[-1] != context_dim:
        raise ValueError(
            f"context must have context_dim={context_dim} entries in its last dimension, got "
            f"shape {tuple(shape)}; pass an array of shape (..., {context_dim})."
        )


def check_levels(low: Any, high: Any) -> tuple[int, int]:
    """Return the lowest and the highest of a range of whole numbers, or raise if it is no range."""
    low, high = (check_integer(name, value) for name, value in (("low", low), ("high", high)))
    if high <= low:
        raise ValueError(f"high must be above low={low}, got {high}; pass a larger number.")
    return low, high


def check_integer(name: str, value: Any) -> int:
    """Return ``value`` as an int, or raise if it is none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}; pass a whole number.")
    return int(value)
