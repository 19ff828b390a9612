"""Pareto-smoothed importance sampling by ArviZ, imported late and kept quiet locally.

ArviZ is slow to import and warns as it is imported, so nothing here runs at import time.

References:
    Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", 2024.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["load_arviz", "pareto_smooth", "quiet_arviz"]


def load_arviz():
    """The arviz module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    return arviz


@contextmanager
def quiet_arviz() -> Iterator:
    """The arviz module, without warnings inside the block."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield load_arviz()


def pareto_smooth(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Smooth the largest weights by a generalised Pareto distribution.

    Args:
        log_weights: shape ``(K,)``.

    Returns:
        Normalised smoothed log weights, and the shape k of the distribution; ``-inf`` where the
        weights that are not zero are constant.
    """
    log_weights = np.asarray(log_weights, np.float64)
    top = log_weights.max()
    positive = log_weights > -np.inf
    if top - np.min(log_weights, where=positive, initial=top) < 1e-9:
        return np.where(positive, -np.log(positive.sum()), -np.inf), -np.inf
    with quiet_arviz() as arviz:
        smoothed, shape = arviz.psislw(log_weights.copy())
    return np.asarray(smoothed, np.float64), float(shape)
