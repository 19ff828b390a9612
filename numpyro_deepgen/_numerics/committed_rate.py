"""How far a stationary autoregressive sequence is from every sequence of independent variables."""

import numpy as np
from scipy.optimize import brentq

__all__ = ["ar1_scale_tril", "committed_rate", "correlation_of_rate"]


def committed_rate(correlation: float, num_steps: int) -> float:
    """The least divergence of independent normal variables from one sequence, in nats."""
    square = correlation**2
    return float(0.5 * ((num_steps - 2) * np.log1p(square) - np.log1p(-square)))


def correlation_of_rate(rate: float, num_steps: int) -> float:
    """The correlation of neighbours at which the least divergence is ``rate``."""
    # the rate grows with minus the log of 1 - square, from 0 on
    upper = 2.0 * rate
    found = brentq(lambda u: committed_rate(np.sqrt(-np.expm1(-u)), num_steps) - rate, 0.0, upper)
    return float(np.sqrt(-np.expm1(-found)))


def ar1_scale_tril(correlation: float, num_steps: int) -> np.ndarray:
    """The Cholesky factor of the covariance of one sequence of variance 1."""
    lags = np.subtract.outer(np.arange(num_steps), np.arange(num_steps))
    factor = np.where(lags >= 0, correlation ** np.maximum(lags, 0), 0.0)
    factor[:, 1:] *= np.sqrt(1.0 - correlation**2)
    return factor
