r"""Simulation-based calibration: ranks of the truth among posterior draws, and their uniformity.

For :math:`\theta \sim p(\theta)`, :math:`x \sim p(x \mid \theta)` and draws
:math:`\theta_1, \ldots, \theta_L` of the exact posterior given :math:`x`, the rank

.. math::
    r = \#\{l : \theta_l < \theta\}

is uniform on :math:`0, \ldots, L`. Ranks heaped in the middle show a posterior that is too wide, at
both ends one that is too narrow, at one end a bias.

References:
    Talts, Betancourt, Simpson, Vehtari & Gelman (2018), Validating Bayesian inference algorithms
    with simulation-based calibration. Säilynoja, Bürkner & Vehtari (2022), Graphical test for
    discrete uniformity and its applications in goodness-of-fit evaluation.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from .checks import check_positive, check_positive_int

__all__ = ["MIN_SIMULATIONS", "Uniformity", "rank_statistics", "uniformity"]

MIN_SIMULATIONS = 10
MAX_BINS = 20
MAX_LEVELS = 50
RANKS_PER_BIN = 10


@dataclass(frozen=True)
class Uniformity:
    """What the ranks of one quantity say.

    Attributes:
        counts: number of ranks in each bin, shape ``(B,)``.
        expected: number of ranks in each bin if they are uniform, shape ``(B,)``.
        chi_square: Pearson's statistic of these counts.
        chi_square_p_value: probability of one as large, ``B - 1`` degrees of freedom.
        fractions: points ``z`` of the unit interval, shape ``(K,)``.
        ecdf: share of the ranks up to each, shape ``(K,)``.
        lower: lower edge of the band, shape ``(K,)``.
        upper: upper edge. If ranks are uniform the whole curve lies within the band with the
            probability asked for.
        ecdf_p_value: probability that a curve of uniform ranks leaves a band as wide as this one
            needs somewhere; exact, small only if ranks are not uniform.
    """

    counts: np.ndarray
    expected: np.ndarray
    chi_square: float
    chi_square_p_value: float
    fractions: np.ndarray
    ecdf: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    ecdf_p_value: float


def rank_statistics(draws: np.ndarray, truth: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rank of each true value among the posterior draws of its simulation.

    Args:
        draws: posterior draws, shape ``(num_simulations, num_draws) + shape``; thin those of a
            Markov chain until they are nearly independent.
        truth: the values that the data were simulated from, ``(num_simulations,) + shape``.
        seed: of the random order of draws equal to the truth.

    Returns:
        Integers from 0 to ``num_draws``, shape ``(num_simulations,) + shape``.

    Raises:
        ValueError: if shapes do not fit, or a value is NaN.
    """
    draws, truth = np.asarray(draws), np.asarray(truth)
    if draws.ndim < 2 or draws.shape[:1] + draws.shape[2:] != truth.shape or draws.shape[1] == 0:
        raise ValueError(
            "draws must have shape (num_simulations, num_draws) + shape where truth has "
            f"(num_simulations,) + shape, got {draws.shape} and {truth.shape}; stack the draws of "
            "the simulations along the first dimension."
        )
    bad = int(np.isnan(draws).sum() + np.isnan(truth).sum())
    if bad:
        raise ValueError(f"draws and truth must not be NaN, got {bad} NaN; look at the inference.")
    truth = truth[:, None]
    ties = np.sum(draws == truth, axis=1)
    return np.sum(draws < truth, axis=1) + np.random.default_rng(seed).integers(0, ties + 1)


def uniformity(
    ranks: np.ndarray, num_draws: int, num_bins: int | None = None, level: float = 0.95
) -> Uniformity:
    """Test whether ranks are uniform on ``0, ..., num_draws``.

    Args:
        ranks: ranks of one quantity, shape ``(num_simulations,)``, at least 10 of them.
        num_draws: number of posterior draws behind each rank.
        num_bins: bins of the chi-square test, default one for ten ranks but at most 20.
        level: probability of the simultaneous band.

    Raises:
        ValueError: if there are too few ranks, or some out of range.
    """
    ranks = np.asarray(ranks)
    num_draws = check_positive_int("num_draws", num_draws)
    level = check_positive("level", level, upper=1.0)
    if ranks.ndim != 1 or len(ranks) < MIN_SIMULATIONS:
        raise ValueError(
            f"ranks must have shape (num_simulations,), at least {MIN_SIMULATIONS} of them, got "
            f"shape {ranks.shape}; pass one quantity at a time, run more simulations."
        )
    if ranks.min() < 0 or ranks.max() > num_draws:
        raise ValueError(
            f"ranks must lie in 0, ..., num_draws={num_draws}, got {ranks.min()} to {ranks.max()}; "
            "pass the number of draws that they were counted among."
        )
    counts, expected = _binned(ranks, num_draws, num_bins)
    chi_square = float(np.sum((counts - expected) ** 2 / expected))
    levels = _levels(num_draws)
    fractions = (levels + 1) / (num_draws + 1)
    below = np.array([np.sum(ranks <= level_) for level_ in levels])
    tails = _tails(len(ranks), fractions)
    lower, upper = _band(tails, fractions, level)
    observed = min(tail[count] for tail, count in zip(tails, below, strict=True))
    return Uniformity(
        counts,
        expected,
        chi_square,
        float(chdtrc(len(counts) - 1, chi_square)),
        fractions,
        below / len(ranks),
        lower / len(ranks),
        upper / len(ranks),
        float(1.0 - _coverage([tail > observed for tail in tails], fractions)),
    )


def _binned(ranks: np.ndarray, num_draws: int, num_bins: int | None) -> tuple:
    if num_bins is None:
        num_bins = max(2, min(MAX_BINS, len(ranks) // RANKS_PER_BIN))
    num_bins = min(check_positive_int("num_bins", num_bins, minimum=2), num_draws + 1)
    bins = np.arange(num_draws + 1) * num_bins // (num_draws + 1)
    counts = np.bincount(bins[ranks.astype(int)], minlength=num_bins)
    return counts, len(ranks) * np.bincount(bins, minlength=num_bins) / (num_draws + 1)


def _levels(num_draws: int) -> np.ndarray:
    """Ranks at which the distribution functions are compared, the last one left out."""
    return np.unique(np.linspace(0, num_draws - 1, min(num_draws, MAX_LEVELS)).round().astype(int))


def _log_factorials(largest: int) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])


def _log_binomial(
    table: np.ndarray, size: np.ndarray, prob: float, count: np.ndarray
) -> np.ndarray:
    """Log probability of ``count`` successes, minus infinity for an impossible one."""
    possible = (count >= 0) & (count <= size)
    count = np.where(possible, count, 0)
    value = table[size] - table[count] - table[size - count]
    value = value + count * np.log(prob) + (size - count) * np.log1p(-prob)
    return np.where(possible, value, -np.inf)


def _tails(num_ranks: int, fractions: np.ndarray) -> list[np.ndarray]:
    """For each fraction, the smaller tail of each count 0, ..., num_ranks up to it."""
    counts, table, tails = np.arange(num_ranks + 1), _log_factorials(num_ranks), []
    for fraction in fractions:
        probs = np.exp(_log_binomial(table, np.array(num_ranks), fraction, counts))
        tails.append(np.minimum(np.cumsum(probs), np.cumsum(probs[::-1])[::-1]))
    return tails


def _coverage(allowed: list[np.ndarray], fractions: np.ndarray) -> float:
    """Probability that the counts of uniform ranks are allowed at every fraction (Algorithm 1)."""
    num_ranks = len(allowed[0]) - 1
    table = _log_factorials(num_ranks)
    counts, probs, before = np.array([0]), np.array([1.0]), 0.0
    for mask, fraction in zip(allowed, fractions, strict=True):
        reached = np.flatnonzero(mask)
        share = (fraction - before) / (1.0 - before)
        left = num_ranks - counts[:, None]
        step = _log_binomial(table, left, share, reached - counts[:, None])
        counts, probs, before = reached, probs @ np.exp(step), fraction
    return min(1.0, float(probs.sum()))


def _band(tails: list[np.ndarray], fractions: np.ndarray, level: float) -> tuple:
    """Smallest and largest counts of the narrowest band of equal tails that covers ``level``."""
    low, high = np.log(1e-12), 0.0
    for _ in range(16):
        middle = 0.5 * (low + high)
        covered = _coverage([tail > np.exp(middle) for tail in tails], fractions) >= level
        low, high = (middle, high) if covered else (low, middle)
    allowed = [np.flatnonzero(tail > np.exp(low)) for tail in tails]
    return tuple(np.array([pick(counts) for counts in allowed]) for pick in (np.min, np.max))
