r"""A mixture of normals fitted to annealed particles, refined by importance sampling.

The weights of draws of the mixture by the density give the mass of each component far better than
the number of particles there does, and a second estimate of the evidence.

References:
    Cappe, Douc, Guillin, Marin & Robert (2008), Adaptive importance sampling in general mixture
    classes, equations 15-17.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..._numerics.gaussian_mixture import GaussianMixture, fit_mixture, mode_labels
from ..._numerics.importance import WeightSummary, summarize_weights

__all__ = ["Modes", "find_modes", "has_several_modes"]

NUM_REFINEMENTS, NUM_DRAWS = 4, 2048
MIN_ESS_SHARE = 0.05
MIN_MASS, MAX_LOSS = 0.01, 0.5
DRAWS_A_DIMENSION = 10


@dataclass(frozen=True)
class Modes:
    """A mixture of normals near a density.

    Attributes:
        mixture: the mixture.
        labels: mode of each component, shape ``(K,)``.
        masses: share of each mode, from the largest to the smallest.
        elbo: evidence lower bound of the mixture.
        normal_elbo: that of the one normal distribution with its mean and covariance.
        khat: Pareto shape of the importance weights of its draws.
        log_evidence: log of their mean.
        log_evidence_error: its standard error.
    """

    mixture: GaussianMixture
    labels: np.ndarray
    masses: np.ndarray
    elbo: float
    normal_elbo: float
    khat: float
    log_evidence: float
    log_evidence_error: float


def find_modes(
    points: np.ndarray, density: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator
) -> Modes:
    """Fit a mixture to particles and refine it.

    Args:
        points: equally weighted particles, shape ``(N, D)``.
        density: log density of vectors, ``(N, D)`` to ``(N,)``.
        rng: source of randomness.

    Raises:
        ValueError: if the particles are degenerate, or the density is zero wherever the mixture
            draws.
    """
    mixture = fit_mixture(points, rng)
    best = _weigh(mixture, density, rng)
    found = best
    for _ in range(NUM_REFINEMENTS):
        draws, log_weights, summary, _ = found
        if summary.ess < MIN_ESS_SHARE * NUM_DRAWS:
            break
        enough = summary.ess > DRAWS_A_DIMENSION * mixture.dim * len(mixture.weights)
        mixture = mixture.update(draws, log_weights, weights_only=not enough)
        found = _weigh(mixture, density, rng)
        if found[2].ess > best[2].ess:
            best = found
    _, log_weights, summary, mixture = best
    labels = mode_labels(mixture, rng)
    masses = np.bincount(labels, mixture.weights)
    order = np.argsort(-masses, kind="stable")
    return Modes(
        mixture,
        np.argsort(order)[labels],
        masses[order],
        float(log_weights.mean()),
        _normal_elbo(mixture, density, rng),
        summary.khat,
        summary.log_evidence,
        summary.log_evidence_error,
    )


def has_several_modes(modes: Modes, best_elbo: float) -> bool:
    """Whether there is mass beside the largest mode, by a mixture that a flow can stand on.

    A mixture that is found from particles loses against a single normal distribution that is
    optimised where there are many dimensions, and yet only it knows of the other modes: it may be
    worse by half a nat a dimension.
    """
    if len(modes.masses) == 1 or modes.masses[1] < MIN_MASS:
        return False
    return modes.elbo > best_elbo - MAX_LOSS * modes.mixture.dim


def _normal_elbo(mixture: GaussianMixture, density: Callable, rng: np.random.Generator) -> float:
    mean, covariance = mixture.moments()
    normal = GaussianMixture(np.ones(1), mean[None], np.linalg.cholesky(covariance)[None])
    draws = normal.draw(rng, NUM_DRAWS)
    return float((density(draws) - normal.log_prob(draws)).mean())


def _weigh(
    mixture: GaussianMixture, density: Callable, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, WeightSummary, GaussianMixture]:
    draws = mixture.draw(rng, NUM_DRAWS)
    log_weights = density(draws) - mixture.log_prob(draws)
    log_weights = np.where(np.isnan(log_weights), -np.inf, log_weights)
    return draws, log_weights, summarize_weights(log_weights), mixture
