"""Weighted draws of a guide, and what their weights say."""

from dataclasses import dataclass

import numpy as np
from jax import Array, random

from ..._numerics.checks import check_positive_int
from ..._numerics.importance import resample_indices

__all__ = ["ImportanceResult"]


@dataclass(frozen=True)
class ImportanceResult:
    """What :func:`importance_resample` found.

    Attributes:
        samples: draws chosen in proportion to the smoothed weights, by latent site, shape
            ``(num_samples,) + site shape``.
        proposals: all draws of the guide, shape ``(num_proposals,) + site shape``.
        log_weights: log joint density less log guide density of each, summed over sites in double
            precision.
        smoothed_log_weights: normalised, Pareto-smoothed log weights.
        khat: Pareto shape of the largest weights; beyond 0.7 nothing here is to be trusted. It
            sees only what is near the guide's mass, not modes the guide misses.
        ess: effective sample size of the smoothed weights.
        log_evidence: log of the mean of the weights, in nats.
        log_evidence_error: its standard error.
    """

    samples: dict[str, Array]
    proposals: dict[str, Array]
    log_weights: np.ndarray
    smoothed_log_weights: np.ndarray
    khat: float
    ess: float
    log_evidence: float
    log_evidence_error: float

    def resample(
        self, rng_key: Array, num_samples: int, replacement: bool = True
    ) -> dict[str, Array]:
        """Choose draws anew.

        Args:
            rng_key: key of the choice.
            num_samples: number of draws.
            replacement: whether a draw may be chosen more than once.

        Raises:
            ValueError: without replacement, if there are fewer draws of positive weight.
        """
        return choose(rng_key, self.proposals, self.smoothed_log_weights, num_samples, replacement)


def choose(
    rng_key: Array,
    proposals: dict[str, Array],
    log_weights: np.ndarray,
    num_samples: int,
    replacement: bool,
) -> dict[str, Array]:
    """Draws in proportion to their weights."""
    num_samples = check_positive_int("num_samples", num_samples)
    positive = int(np.isfinite(log_weights).sum())
    if not replacement and num_samples > positive:
        raise ValueError(
            f"num_samples must be at most the number {positive} of draws of positive weight "
            f"without replacement, got {num_samples}; draw more proposals."
        )
    shape = (2, num_samples) if replacement else log_weights.shape
    uniforms = np.asarray(random.uniform(rng_key, shape), np.float64)
    indices = resample_indices(log_weights, uniforms, replacement)[:num_samples]
    return {name: value[indices] for name, value in proposals.items()}
