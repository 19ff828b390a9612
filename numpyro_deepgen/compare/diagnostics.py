"""The few ArviZ diagnostics the comparison uses, imported late and kept quiet locally.

ArviZ is slow to import and warns as it is imported, so nothing here runs at import time.
"""

import warnings
from contextlib import contextmanager

import numpy as np

__all__ = ["bfmi", "ess", "load_arviz", "pareto_shape", "quantile_error", "rhat"]


def load_arviz():
    """The arviz module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    return arviz


@contextmanager
def _quiet():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield load_arviz()


def rhat(x: np.ndarray) -> float:
    """Rank-normalised split R-hat of draws ``(chain, draw)``; NaN where it is undefined."""
    with _quiet() as arviz:
        return float(arviz.rhat(x))


def ess(x: np.ndarray, method: str = "mean") -> float:
    """Effective sample size of draws ``(chain, draw)``; NaN where it is undefined."""
    with _quiet() as arviz:
        return float(arviz.ess(x, method=method))


def quantile_error(x: np.ndarray, level: float) -> float:
    """Monte Carlo error of a quantile of draws ``(chain, draw)``; NaN where it is undefined."""
    with _quiet() as arviz:
        return float(arviz.mcse(x, method="quantile", prob=level))


def bfmi(energy: np.ndarray) -> np.ndarray:
    """Estimated Bayesian fraction of missing information, one value a chain."""
    with _quiet() as arviz:
        return np.asarray(arviz.bfmi(energy))


def pareto_shape(log_weights: np.ndarray) -> float:
    """The generalised-Pareto shape k of the largest weights; ``-inf`` where they are constant."""
    log_weights = np.asarray(log_weights, np.float64)
    if np.ptp(log_weights) < 1e-9:
        return -np.inf
    with _quiet() as arviz:
        _, shape = arviz.psislw(log_weights.copy())
    return float(shape)
