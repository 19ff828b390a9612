r"""What a latent variable carries, from draws of the posteriors of many data.

With draws :math:`z_{sn} \sim q(z \mid x_n)` of ``N`` data, the mean divergence is split as

.. math::
    \frac1N \sum_n \mathrm{KL}(q(z \mid x_n) \,\|\, p(z)) =
    I_q(x; z) + \mathrm{KL}(q(z) \,\|\, p(z)),
    \qquad q(z) = \frac1N \sum_n q(z \mid x_n).
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["LatentStatistics", "summarize_latent"]


@dataclass(frozen=True)
class LatentStatistics:
    """What ``latent_statistics`` found, in nats; errors are standard errors over data.

    Attributes:
        activity: variance over data of each unit's posterior mean, without that of the draws.
        activity_error: its error.
        num_active: number of units whose activity is above the threshold.
        kl_per_unit: mean divergence of each unit, None if posterior or prior is no product.
        kl_per_unit_error: its error.
        kl: mean divergence of a posterior from the prior.
        kl_error: its error.
        mutual_information: between data and latent variable under the posteriors, at most the log
            of the number of data.
        mutual_information_error: its error.
        aggregated_gap: divergence of the aggregated posterior from the prior, which is what is
            left; negative only by noise.
        aggregated_gap_error: its error.
    """

    activity: np.ndarray
    activity_error: np.ndarray
    num_active: int
    kl_per_unit: np.ndarray | None
    kl_per_unit_error: np.ndarray | None
    kl: float
    kl_error: float
    mutual_information: float
    mutual_information_error: float
    aggregated_gap: float
    aggregated_gap_error: float


def summarize_latent(
    draws: np.ndarray,
    log_posterior: np.ndarray,
    log_prior: np.ndarray,
    log_aggregated: np.ndarray,
    unit_terms: np.ndarray | None,
    threshold: float,
) -> LatentStatistics:
    """Summarise draws.

    Args:
        draws: shape ``(S, N, units)``.
        log_posterior: log density of each draw under its own posterior, ``(S, N)``.
        log_prior: under the prior, ``(S, N)``.
        log_aggregated: under the mixture of all posteriors, ``(S, N)``.
        unit_terms: log posterior less log prior by unit, ``(S, N, units)``, or None.
        threshold: activity above which a unit counts as active.
    """
    draws = np.asarray(draws, np.float64)
    num_samples, num_data, _ = draws.shape
    means = draws.mean(0)
    noise = draws.var(0, ddof=1) / num_samples
    # the draws' share of the variance of their means is known
    shares = np.square(means - means.mean(0)) * num_data / (num_data - 1) - noise
    activity, activity_error = _mean_and_error(shares)
    kl, kl_error = _mean_and_error((log_posterior - log_prior).mean(0))
    information, information_error = _mean_and_error((log_posterior - log_aggregated).mean(0))
    gap, gap_error = _mean_and_error((log_aggregated - log_prior).mean(0))
    units = (None, None) if unit_terms is None else _mean_and_error(unit_terms.mean(0))
    return LatentStatistics(
        activity,
        activity_error,
        int((activity > threshold).sum()),
        *units,
        float(kl),
        float(kl_error),
        float(information),
        float(information_error),
        float(gap),
        float(gap_error),
    )


def _mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first dimension, and its standard error."""
    values = np.asarray(values, np.float64)
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))
