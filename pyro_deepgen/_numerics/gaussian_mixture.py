r"""Mixtures of normal distributions: fitted to weighted points, and which components are one mode.

.. math::
    q(z) = \sum_k \pi_k N(z; m_k, L_k L_k^T)

Expectation-maximisation (Dempster, Laird & Rubin 1977) from greedy k-means++ seeds (Arthur &
Vassilvitskii 2007), in coordinates where the points have unit covariance; the number of components
is that of the lowest Bayesian information criterion (Schwarz 1978).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

__all__ = ["GaussianMixture", "fit_mixture", "mode_labels", "seed_points"]

NUM_COMPONENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
MAX_STALE = 2
MAX_STEPS, TOLERANCE = 100, 3e-4
FLOOR = 1e-6
DIP, CONFUSION, NUM_DRAWS = 1.0, 0.02, 500


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of ``K`` normal distributions over ``D`` dimensions.

    Attributes:
        weights: shape ``(K,)``, summing to 1.
        locs: shape ``(K, D)``.
        scale_trils: lower triangles ``L``, shape ``(K, D, D)``.
    """

    weights: np.ndarray
    locs: np.ndarray
    scale_trils: np.ndarray

    @property
    def dim(self) -> int:
        """``D``."""
        return self.locs.shape[-1]

    def joint_log_probs(self, points: np.ndarray) -> np.ndarray:
        """Return ``log pi_k N(z; m_k, L_k L_k^T)``, shape ``(N, K)`` for points ``(N, D)``."""
        centred = points[:, None] - self.locs
        noise = np.einsum("kij,nkj->nki", np.linalg.inv(self.scale_trils), centred)
        log_dets = np.log(np.diagonal(self.scale_trils, axis1=-2, axis2=-1)).sum(-1)
        constants = np.log(self.weights) - log_dets - 0.5 * self.dim * np.log(2 * np.pi)
        return constants - 0.5 * (noise**2).sum(-1)

    def log_prob(self, points: np.ndarray) -> np.ndarray:
        """Return the log density, shape ``(N,)`` for points ``(N, D)``."""
        return logsumexp(self.joint_log_probs(points), -1)

    def responsibilities(self, points: np.ndarray) -> np.ndarray:
        """Return the probability of each component given a point, shape ``(N, K)``."""
        joint = self.joint_log_probs(points)
        return np.exp(joint - logsumexp(joint, -1, keepdims=True))

    def draw(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
        """Return stratified draws, shape ``(num_samples, D)``: each component has its share."""
        places = (np.arange(num_samples) + rng.uniform()) / num_samples
        chosen = np.minimum(np.searchsorted(np.cumsum(self.weights), places), len(self.locs) - 1)
        noise = rng.standard_normal((num_samples, self.locs.shape[-1]))
        return self.locs[chosen] + np.einsum("nij,nj->ni", self.scale_trils[chosen], noise)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean, shape ``(D,)``, and the covariance, shape ``(D, D)``."""
        mean = self.weights @ self.locs
        centred = self.locs - mean
        within = np.einsum("k,kij,klj->il", self.weights, self.scale_trils, self.scale_trils)
        return mean, within + (self.weights * centred.T) @ centred

    def affine(self, loc: np.ndarray, scale_tril: np.ndarray) -> "GaussianMixture":
        """Return the distribution of ``loc + scale_tril @ z``."""
        locs = loc + self.locs @ scale_tril.T
        return GaussianMixture(self.weights, locs, scale_tril @ self.scale_trils)

    def standardized(self) -> tuple["GaussianMixture", np.ndarray, np.ndarray]:
        """Return the mixture of zero mean and unit covariance, and the map back to this one."""
        mean, covariance = self.moments()
        scale_tril = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(scale_tril)
        scale_trils = np.tril(inverse @ self.scale_trils)
        locs = _multiply(inverse, self.locs - mean)
        return GaussianMixture(self.weights, locs, scale_trils), mean, scale_tril

    def update(
        self, points: np.ndarray, log_weights: np.ndarray, weights_only: bool = False
    ) -> "GaussianMixture":
        """Take one step of expectation-maximisation on weighted points.

        With draws of the mixture itself, weighted by a density over it, this is a step towards
        the mixture of the least forward divergence (Cappe et al. 2008, equations 15-17).

        Args:
            points: shape ``(N, D)``.
            log_weights: shape ``(N,)``.
            weights_only: whether the components stay and only their shares change.
        """
        shares = np.exp(log_weights - logsumexp(log_weights))[:, None]
        shares = shares * self.responsibilities(points)
        if not weights_only:
            return _maximize(points, shares)
        weights = np.maximum(shares.sum(0), np.finfo(float).tiny)
        return GaussianMixture(weights / weights.sum(), self.locs, self.scale_trils)


def fit_mixture(
    points: np.ndarray,
    rng: np.random.Generator,
    num_components: tuple[int, ...] = NUM_COMPONENTS,
) -> GaussianMixture:
    """Fit mixtures with several numbers of components; return the one of the lowest criterion.

    Args:
        points: shape ``(N, D)``.
        rng: source of the seeds.
        num_components: numbers to try in turn; two in a row without a lower criterion end it.

    Raises:
        ValueError: if the points have no positive definite covariance.
    """
    mean, covariance = points.mean(0), np.atleast_2d(np.cov(points.T))
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(
            f"points must span all {points.shape[-1]} dimensions, got {len(points)} points of a "
            "singular covariance; pass more points."
        ) from None
    white = _multiply(np.linalg.inv(root), points - mean)
    dim = points.shape[-1]
    size = 1 + dim + dim * (dim + 1) // 2
    best, lowest, stale = None, np.inf, 0
    for count in num_components:
        if count > 1 and count * 5 * dim > len(points):
            break
        fitted, log_likelihood = _fit(white, count, rng)
        criterion = size * count * np.log(len(points)) - 2.0 * log_likelihood
        stale = 0 if criterion < lowest else stale + 1
        if criterion < lowest:
            best, lowest = fitted, criterion
        if stale == MAX_STALE:
            break
    return best.affine(mean, root)


def mode_labels(mixture: GaussianMixture, rng: np.random.Generator) -> np.ndarray:
    """Number the modes and say to which one each component belongs, shape ``(K,)``.

    Two components are of one mode where the density between their locations does not fall by more
    than a factor e below that at the lower of the two, or where a draw of one is taken for one of
    the other with a probability above 2 %.

    Args:
        mixture: the mixture.
        rng: source of the draws.
    """
    count = len(mixture.locs)
    labels = np.arange(count)
    confused = np.stack([_component(mixture, k, rng).mean(0) for k in range(count)])
    confused = np.maximum(confused, confused.T)
    places = np.linspace(0.0, 1.0, 33)[:, None]
    for i, start in enumerate(mixture.locs):
        for j in range(i):
            values = mixture.log_prob(start + places * (mixture.locs[j] - start))
            dips = values.min() < min(values[0], values[-1]) - DIP
            if not dips or confused[i, j] > CONFUSION:
                labels[labels == labels[i]] = labels[j]
    return np.unique(labels, return_inverse=True)[1]


def _component(mixture: GaussianMixture, k: int, rng: np.random.Generator) -> np.ndarray:
    """Responsibilities at draws of one component."""
    noise = rng.standard_normal((NUM_DRAWS, mixture.locs.shape[-1]))
    return mixture.responsibilities(mixture.locs[k] + noise @ mixture.scale_trils[k].T)


def _fit(points: np.ndarray, count: int, rng: np.random.Generator) -> tuple:
    """The mixture, with fewer components where some die, and its log likelihood."""
    seeds = seed_points(points, count, rng)
    nearest = ((points[:, None] - seeds) ** 2).sum(-1).argmin(-1)
    shares = np.eye(count)[nearest] / len(points)
    mixture, before = _maximize(points, shares), -np.inf
    for _ in range(MAX_STEPS):
        joint = mixture.joint_log_probs(points)
        total = logsumexp(joint, -1, keepdims=True)
        log_likelihood = float(total.sum())
        if log_likelihood - before < TOLERANCE * len(points):
            break
        before = log_likelihood
        mixture = _maximize(points, np.exp(joint - total) / len(points))
    return mixture, float(mixture.log_prob(points).sum())


def _maximize(points: np.ndarray, shares: np.ndarray) -> GaussianMixture:
    """The mixture of the largest expected likelihood; components without enough points go."""
    totals = shares.sum(0)
    effective = totals**2 / np.maximum((shares**2).sum(0), np.finfo(float).tiny)
    kept = effective > points.shape[-1] + 1
    if not kept.any():
        kept = effective == effective.max()
    shares, totals = shares[:, kept], totals[kept]
    locs = np.einsum("nk,ni->ki", shares, points) / totals[:, None]
    scale_trils = []
    spread = FLOOR * np.maximum(points.var(0), np.finfo(float).tiny)
    for share, total, loc in zip(shares.T, totals, locs, strict=True):
        centred = points - loc
        covariance = (share * centred.T) @ centred / total + np.diag(spread)
        scale_trils.append(np.linalg.cholesky(covariance))
    return GaussianMixture(totals / totals.sum(), locs, np.stack(scale_trils))


def _multiply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Each point times a matrix; not by a matrix product, whose threads cost more than it does."""
    return np.einsum("ij,nj->ni", matrix, points)


def seed_points(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return greedy k-means++ seeds, shape ``(count, D)`` for points ``(N, D)``.

    Of a few candidates each is the one that leaves the least distance (Arthur & Vassilvitskii
    2007).
    """
    chosen = [points[rng.integers(len(points))]]
    distance = ((points - chosen[0]) ** 2).sum(-1)
    for _ in range(count - 1):
        candidates = rng.choice(len(points), 2 + int(np.log(count)), p=distance / distance.sum())
        options = np.minimum(distance, ((points[candidates][:, None] - points) ** 2).sum(-1))
        best = options.sum(-1).argmin()
        chosen.append(points[candidates[best]])
        distance = options[best]
    return np.stack(chosen)
