r"""Coordinate ascent for a Bayesian mixture of normal distributions, in closed form.

.. math::
    \pi \sim \mathrm{Dirichlet}(\alpha_0), \quad
    \Lambda_k \sim \mathrm{Wishart}(\nu_0, W_0), \quad
    \mu_k \sim N(m_0, (\beta_0 \Lambda_k)^{-1}), \quad
    z_n \sim \pi, \quad x_n \sim N(\mu_{z_n}, \Lambda_{z_n}^{-1})

with the mean-field posterior :math:`q(z) q(\pi) \prod_k q(\mu_k, \Lambda_k)`. Equation numbers are
those of Bishop (2006), Pattern recognition and machine learning, section 10.2.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import digamma, gammaln, logsumexp, multigammaln, xlogy

from .gaussian_mixture import seed_points

__all__ = ["MixturePosterior", "MixturePrior", "coordinate_ascent"]

PARTS = ("concentration", "locs", "loc_precisions", "degrees", "scale_matrices")


@dataclass(frozen=True, eq=False)
class MixturePrior:
    """The prior of a mixture of ``K`` normal distributions over ``D`` dimensions.

    Attributes:
        concentration: ``alpha_0``, shape ``(K,)``.
        loc: ``m_0``, shape ``(D,)``.
        loc_precision: ``beta_0``.
        degrees: ``nu_0``, above ``D - 1``.
        scale_matrix: ``W_0``, shape ``(D, D)``.
    """

    concentration: np.ndarray
    loc: np.ndarray
    loc_precision: float
    degrees: float
    scale_matrix: np.ndarray

    def spread(self, noise: np.ndarray) -> "MixturePosterior":
        """Return the prior as a posterior, its locations moved by noise of shape ``(K, D)``."""
        count = len(self.concentration)
        expected = np.linalg.inv(self.degrees * self.scale_matrix)
        return MixturePosterior(
            self.concentration,
            self.loc + noise @ np.linalg.cholesky(expected).T / np.sqrt(self.loc_precision),
            np.full(count, self.loc_precision),
            np.full(count, self.degrees),
            np.broadcast_to(self.scale_matrix, (count, *self.scale_matrix.shape)),
            np.zeros((0, count)),
        )


@dataclass(frozen=True, eq=False)
class MixturePosterior:
    """The mean-field posterior, and how it was found.

    Attributes:
        concentration: ``alpha``, shape ``(K,)``.
        locs: ``m``, shape ``(K, D)``.
        loc_precisions: ``beta``, shape ``(K,)``.
        degrees: ``nu``, shape ``(K,)``.
        scale_matrices: ``W``, shape ``(K, D, D)``.
        responsibilities: probability of each component for each datum, shape ``(N, K)``.
        bounds: evidence lower bound after each step, which never falls, of the best start.
        converged: whether it rose by less than the tolerance in the last step.
    """

    concentration: np.ndarray
    locs: np.ndarray
    loc_precisions: np.ndarray
    degrees: np.ndarray
    scale_matrices: np.ndarray
    responsibilities: np.ndarray = field(repr=False)
    bounds: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    converged: bool = False

    @property
    def bound(self) -> float:
        """The evidence lower bound, in nats."""
        return float(self.bounds[-1])

    @property
    def weights(self) -> np.ndarray:
        """Expected shares of the components, shape ``(K,)``."""
        return self.concentration / self.concentration.sum()

    def sorted(self) -> "MixturePosterior":
        """Return the same posterior, its components from the largest share to the smallest."""
        order = np.argsort(-self.concentration, kind="stable")
        parts = {name: getattr(self, name)[order] for name in PARTS}
        return replace(self, **parts, responsibilities=self.responsibilities[:, order])

    def parameters(self) -> tuple[np.ndarray, ...]:
        """The parameters, the scale matrices as lower factors."""
        *others, matrices = (getattr(self, name) for name in PARTS)
        return *others, np.linalg.cholesky(matrices)

    def assign(self, points: np.ndarray) -> np.ndarray:
        """Return the probability of each component, shape ``(N, K)`` for points ``(N, D)``."""
        joint = _expected_log_joint(self, np.asarray(points, np.float64))
        return np.exp(joint - logsumexp(joint, -1, keepdims=True))


def coordinate_ascent(
    points: np.ndarray,
    prior: MixturePrior,
    rng: np.random.Generator,
    num_starts: int = 1,
    max_steps: int = 1000,
    tolerance: float = 1e-8,
    responsibilities: np.ndarray | None = None,
) -> MixturePosterior:
    """Maximise the evidence lower bound over the mean-field family, coordinate by coordinate.

    Args:
        points: data, shape ``(N, D)``.
        prior: the prior.
        rng: source of the starts.
        num_starts: number of starts, by greedy k-means++ seeds; the best bound is kept.
        max_steps: largest number of steps from a start.
        tolerance: relative rise of the bound below which a start has converged.
        responsibilities: one start of one's own in place of the seeds, shape ``(N, K)``.

    Returns:
        The posterior of the best start.
    """
    points = np.asarray(points, np.float64)
    starts = [responsibilities] if responsibilities is not None else None
    found = []
    for start in starts or range(num_starts):
        shares = start if starts else _shares_of_seeds(points, len(prior.concentration), rng)
        found.append(_ascend(points, prior, np.asarray(shares, float), max_steps, tolerance))
    return max(found, key=lambda posterior: posterior.bound)


def _shares_of_seeds(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    # distances in coordinates of unit variance
    spread = points.std(0)
    white = points / np.where(spread > 0.0, spread, 1.0)
    seeds = seed_points(white, count, rng)
    nearest = ((white[:, None] - seeds) ** 2).sum(-1).argmin(-1)
    return np.eye(count)[nearest]


def _ascend(points, prior, shares, max_steps, tolerance) -> MixturePosterior:
    bounds: list[float] = []
    posterior = _update(points, prior, shares)
    for _ in range(max_steps):
        bounds.append(_bound(points, prior, posterior, shares))
        if len(bounds) > 1 and bounds[-1] - bounds[-2] <= tolerance * abs(bounds[-1]):
            break
        shares = posterior.assign(points)
        posterior = _update(points, prior, shares)
    converged = len(bounds) > 1 and bounds[-1] - bounds[-2] <= tolerance * abs(bounds[-1])
    return replace(posterior, responsibilities=shares, bounds=np.array(bounds), converged=converged)


def _update(points: np.ndarray, prior: MixturePrior, shares: np.ndarray) -> MixturePosterior:
    """The best posterior of the parameters given the responsibilities."""
    # (10.51)-(10.53)
    counts = shares.sum(0)
    sums = shares.T @ points
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1e-300)[:, None], prior.loc)
    centred = points - means[:, None]
    scatter = np.einsum("nk,kni,knj->kij", shares, centred, centred)
    # (10.58), (10.60)-(10.63)
    precisions = prior.loc_precision + counts
    locs = (prior.loc_precision * prior.loc + sums) / precisions[:, None]
    away = means - prior.loc
    factor = prior.loc_precision * counts / precisions
    inverses = np.linalg.inv(prior.scale_matrix) + scatter
    inverses = inverses + factor[:, None, None] * away[:, :, None] * away[:, None, :]
    return MixturePosterior(
        prior.concentration + counts,
        locs,
        precisions,
        prior.degrees + counts,
        np.linalg.inv(inverses),
        shares,
    )


def _expected_log_joint(posterior: MixturePosterior, points: np.ndarray) -> np.ndarray:
    """Return ``E[log pi_k N(x_n; mu_k, Lambda_k^-1)]``, shape ``(N, K)``."""
    dim = points.shape[-1]
    # (10.65), (10.66)
    steps = np.arange(dim)
    log_dets = digamma(0.5 * (posterior.degrees[:, None] - steps)).sum(-1)
    log_dets = log_dets + dim * np.log(2.0) + np.linalg.slogdet(posterior.scale_matrices)[1]
    shares = digamma(posterior.concentration) - digamma(posterior.concentration.sum())
    # (10.64)
    centred = points[:, None] - posterior.locs
    distances = np.einsum("nki,kij,nkj->nk", centred, posterior.scale_matrices, centred)
    quadratic = dim / posterior.loc_precisions + posterior.degrees * distances
    return shares + 0.5 * (log_dets - dim * np.log(2.0 * np.pi) - quadratic)


def _bound(points, prior, posterior, shares) -> float:
    """The bound where the parameters are optimal for the responsibilities.

    Then ``q(theta)`` is proportional to ``exp E_q(z)[log p(x, z, theta)]``, whose integral is a
    ratio of normalisers, and the bound is its logarithm plus the entropy of ``q(z)``.
    """
    dim = points.shape[-1]
    entropy = -xlogy(shares, shares).sum()
    shares_term = _log_dirichlet(prior.concentration) - _log_dirichlet(posterior.concentration)
    locs = 0.5 * dim * np.log(prior.loc_precision / posterior.loc_precisions).sum()
    before = _log_wishart(prior.scale_matrix, np.array(prior.degrees))
    scales = (before - _log_wishart(posterior.scale_matrices, posterior.degrees)).sum()
    constant = -0.5 * points.size * np.log(2.0 * np.pi)
    return float(entropy + shares_term + locs + scales + constant)


def _log_dirichlet(concentration: np.ndarray) -> float:
    """Logarithm of the normaliser (B.23)."""
    return gammaln(concentration.sum()) - gammaln(concentration).sum()


def _log_wishart(scale_matrix: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Logarithm of the normaliser (B.79)."""
    dim = scale_matrix.shape[-1]
    log_det = np.linalg.slogdet(scale_matrix)[1]
    gammas = np.reshape([multigammaln(0.5 * d, dim) for d in np.ravel(degrees)], degrees.shape)
    return -0.5 * degrees * (log_det + dim * np.log(2.0)) - gammas
