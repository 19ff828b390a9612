"""The few ArviZ diagnostics the comparison uses."""

import numpy as np

from .._numerics.psis import load_arviz, pareto_smooth, quiet_arviz

__all__ = ["bfmi", "ess", "load_arviz", "pareto_shape", "quantile_error", "rhat"]


def rhat(x: np.ndarray) -> float:
    """Rank-normalised split R-hat of draws ``(chain, draw)``; NaN where it is undefined."""
    with quiet_arviz() as arviz:
        return float(arviz.rhat(x))


def ess(x: np.ndarray, method: str = "mean") -> float:
    """Effective sample size of draws ``(chain, draw)``; NaN where it is undefined."""
    with quiet_arviz() as arviz:
        return float(arviz.ess(x, method=method))


def quantile_error(x: np.ndarray, level: float) -> float:
    """Monte Carlo error of a quantile of draws ``(chain, draw)``; NaN where it is undefined."""
    with quiet_arviz() as arviz:
        return float(arviz.mcse(x, method="quantile", prob=level))


def bfmi(energy: np.ndarray) -> np.ndarray:
    """Estimated Bayesian fraction of missing information, one value a chain."""
    with quiet_arviz() as arviz:
        return np.asarray(arviz.bfmi(energy))


def pareto_shape(log_weights: np.ndarray) -> float:
    """The generalised-Pareto shape k of the largest weights; ``-inf`` where they are constant."""
    return pareto_smooth(log_weights)[1]
