"""Starting parameters of elements, each from the data of its own place."""

import math
from collections.abc import Callable

import numpy as np

__all__ = [
    "by_quantiles",
    "check_init_data",
    "class_log_probs",
    "location_and_raw_scale",
    "log_odds",
]

# no element starts as good as certain
SMALLEST_PROB = 1e-3
# of the spread of all data: the least scale of an element, which may always be the same
SMALLEST_SHARE = 1e-2


def check_init_data(x, event_shape: tuple[int, ...]) -> np.ndarray:
    """Return data of an event shape as real numbers.

    Raises:
        ValueError: if they have another shape, or there are none.
    """
    x = np.asarray(x, np.float64)
    if x.shape[1:] != event_shape or len(x) == 0:
        raise ValueError(
            f"init_data must have shape (N, {', '.join(map(str, event_shape))}) with N of at least "
            f"1, got {x.shape}; pass training data as the model gets them."
        )
    return x


def log_odds(x: np.ndarray) -> np.ndarray:
    """Log-odds ``shape + (1,)`` of bits ``(N,) + shape``."""
    mean = np.clip(x.mean(0), SMALLEST_PROB, 1.0 - SMALLEST_PROB)
    return np.log(mean / (1.0 - mean))[..., None]


def class_log_probs(x: np.ndarray, num_classes: int) -> np.ndarray:
    """Log-frequencies ``shape + (num_classes,)`` of classes ``(N,) + shape``."""
    counts = np.stack([(x == k).mean(0) for k in range(num_classes)], -1)
    return np.log(np.maximum(counts, SMALLEST_PROB / num_classes))


def location_and_raw_scale(
    x: np.ndarray, min_scale: float, max_scale: float | None = None, factor: float = 1.0
) -> np.ndarray:
    """Mean and unconstrained scale ``shape + (2,)`` of real numbers ``(N,) + shape``.

    Args:
        x: the numbers.
        min_scale: lower limit of the scale, as of ``bounded_scale``.
        max_scale: its upper limit, or None.
        factor: scale of a variable whose standard deviation is one.
    """
    scale = factor * np.maximum(x.std(0), SMALLEST_SHARE * (x.std() or 1.0))
    if max_scale is None:
        # the bound of the exponent is far off
        raw = np.log(np.maximum(scale - min_scale, 1e-6))
        raw = 30.0 * np.arctanh(raw / 30.0)
    else:
        share = np.clip((scale - min_scale) / (max_scale - min_scale), 0.01, 0.99)
        raw = np.log(share / (1.0 - share))
    return np.stack([x.mean(0), raw], -1)


def by_quantiles(x: np.ndarray, num_parts: int, params: Callable) -> np.ndarray:
    """Parameters ``shape + (num_parts, n)`` of the parts of sorted numbers, part by part.

    Args:
        x: numbers ``(N,) + shape``.
        num_parts: number of parts.
        params: function of a part ``(M,) + shape`` that gives parameters ``shape + (n,)``.
    """
    x = np.sort(np.repeat(x, math.ceil(num_parts / len(x)), 0), 0)
    return np.stack([params(part) for part in np.array_split(x, num_parts)], -2)
