r"""What importance weights say: evidence, effective sample size, and which draws to keep.

For draws :math:`z_k \sim q` with weights :math:`w_k = p(x, z_k) / q(z_k)`,

.. math::
    \hat p(x) = \frac1K \sum_k w_k, \qquad
    \mathrm{ESS} = \frac{(\sum_k \tilde w_k)^2}{\sum_k \tilde w_k^2},

the smoothed weights :math:`\tilde w` being those of :mod:`.psis`.
"""

from dataclasses import dataclass

import numpy as np

from .psis import pareto_smooth

__all__ = ["MAX_KHAT", "MIN_PROPOSALS", "WeightSummary", "resample_indices", "summarize_weights"]

MAX_KHAT = 0.7
MIN_PROPOSALS = 25


@dataclass(frozen=True)
class WeightSummary:
    """Diagnostics of importance weights.

    Attributes:
        smoothed_log_weights: normalised, Pareto-smoothed.
        khat: Pareto shape of the largest weights.
        ess: effective sample size of the smoothed weights.
        log_evidence: log of the mean weight.
        log_evidence_error: its standard error.
    """

    smoothed_log_weights: np.ndarray
    khat: float
    ess: float
    log_evidence: float
    log_evidence_error: float


def summarize_weights(log_weights: np.ndarray) -> WeightSummary:
    """Summarise log weights of shape ``(K,)``; minus infinity is a weight of zero.

    Raises:
        ValueError: if a log weight is NaN or plus infinity, or no weight is positive.
    """
    log_weights = np.asarray(log_weights, np.float64)
    bad = int(np.sum(np.isnan(log_weights) | (log_weights == np.inf)))
    if bad:
        raise ValueError(
            f"model and guide must have densities that are not NaN or infinite where the guide "
            f"draws, got {bad} of {log_weights.size} draws; check the supports and the training."
        )
    top = log_weights.max()
    if top == -np.inf:
        raise ValueError(
            f"model must have a positive density at some draw of the guide, got none among "
            f"{log_weights.size}; check the supports and the training."
        )
    weights = np.exp(log_weights - top)
    mean = weights.mean()
    # the delta method
    error = weights.std(ddof=1) / (mean * np.sqrt(weights.size))
    smoothed, khat = pareto_smooth(log_weights)
    normalised = np.exp(smoothed)
    size = float(normalised.sum() ** 2 / np.sum(normalised**2))
    return WeightSummary(smoothed, khat, size, float(top + np.log(mean)), float(error))


def resample_indices(
    log_weights: np.ndarray, uniforms: np.ndarray, replacement: bool
) -> np.ndarray:
    """Choose draws in proportion to their weights, in random order.

    Args:
        log_weights: shape ``(K,)``.
        uniforms: noise in ``[0, 1)``; with replacement of shape ``(2, number of draws)``, without
            of shape ``(K,)``.
        replacement: whether a draw may be chosen more than once. Then the choice is stratified
            (Kitagawa 1996); else one by one among those left, by perturbed log weights (Efraimidis
            & Spirakis 2006).

    Returns:
        Indices, as many as draws are asked for; all ``K`` in the order of their choice without
        replacement.
    """
    if not replacement:
        gumbel = -np.log(-np.log(np.clip(uniforms, np.finfo(np.float64).tiny, 1.0 - 1e-16)))
        return np.argsort(-(log_weights + gumbel), kind="stable")
    count = uniforms.shape[-1]
    cumulative = np.cumsum(np.exp(log_weights - log_weights.max()))
    places = (np.arange(count) + uniforms[0]) / count * cumulative[-1]
    # rounding must not lead beyond the last draw of positive weight
    last = int(np.searchsorted(cumulative, cumulative[-1]))
    found = np.minimum(np.searchsorted(cumulative, places, side="right"), last)
    return found[np.argsort(uniforms[1], kind="stable")]
