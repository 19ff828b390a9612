"""The broad normal distribution from which annealing begins."""

import numpy as np

__all__ = ["broad_normal"]

MIN_DRAWS = 16
START_FACTOR, WIDENING = 3.0, 1.5
SCALE_WITHOUT_PRIOR = 5.0
CLIP = 4.0


def broad_normal(
    prior: np.ndarray | None, loc: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a normal distribution that covers the prior and a start.

    Its centre and correlation are those of the prior; its standard deviations one and a half
    times the largest of the prior's (by its quantiles), three times the start's, and the start's
    distance from the centre. Without a prior it lies around the start with at least a scale of 5.

    Args:
        prior: draws of the prior on the unconstrained space, shape ``(N, D)``, or None.
        loc: mean of the start, shape ``(D,)``.
        scale: standard deviations of the start, shape ``(D,)``.

    Returns:
        The mean, shape ``(D,)``, and the lower triangle of the covariance, shape ``(D, D)``.
    """
    if prior is not None:
        prior = prior[np.isfinite(prior).all(-1)]
    if prior is None or len(prior) < MIN_DRAWS:
        return loc, np.diag(WIDENING * np.maximum(START_FACTOR * scale, SCALE_WITHOUT_PRIOR))
    low, centre, high = np.quantile(prior, [0.16, 0.5, 0.84], axis=0)
    spread = np.maximum(0.5 * (high - low), np.finfo(float).tiny)
    noise = np.clip((prior - centre) / spread, -CLIP, CLIP)
    count, dim = noise.shape
    second = noise.T @ noise / count
    root = np.sqrt(np.diagonal(second))
    # shrunk towards independence
    correlation = (count * second / np.outer(root, root) + dim * np.eye(dim)) / (count + dim)
    widths = np.maximum(spread, np.maximum(START_FACTOR * scale, np.abs(loc - centre)))
    return centre, WIDENING * widths[:, None] * np.linalg.cholesky(correlation)
