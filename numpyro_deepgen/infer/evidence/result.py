"""The log evidence of each datum as importance sampling estimates it."""

from dataclasses import dataclass

import numpy as np

from ..._numerics.streaming_weights import StreamingWeights

__all__ = ["EvidenceResult", "evidence_result"]


@dataclass(frozen=True)
class EvidenceResult:
    """What ``log_evidence`` found: double-precision arrays of the data plates' shape, in nats.

    Attributes:
        log_evidence: log of the mean weight of each datum, in expectation a lower bound.
        error: its standard error over particles. Infinitely many particles may hide in the tail
            of the weights: trust it where ``ess`` is large.
        ess: effective sample size of the weights, from 1 to ``num_samples``.
        elbo: mean log weight of each datum.
        elbo_error: its standard error over particles.
        num_samples: number of particles.
        scale: size of the data over that of the minibatch.
    """

    log_evidence: np.ndarray
    error: np.ndarray
    ess: np.ndarray
    elbo: np.ndarray
    elbo_error: np.ndarray
    num_samples: int
    scale: float

    @property
    def total(self) -> float:
        """Log evidence of all data, a minibatch standing for all."""
        return float(self.scale * self.log_evidence.sum())

    @property
    def total_error(self) -> float:
        """Standard error of :attr:`total` over particles."""
        return float(self.scale * np.sqrt(np.square(self.error).sum()))

    @property
    def mean(self) -> float:
        """Mean log evidence of a datum."""
        return float(self.log_evidence.mean())

    @property
    def mean_error(self) -> float:
        """Standard error of :attr:`mean` over data drawn from where these were, NaN for one."""
        if self.log_evidence.size < 2:
            return float("nan")
        return float(self.log_evidence.std(ddof=1) / np.sqrt(self.log_evidence.size))


def evidence_result(stream: StreamingWeights, scale: float) -> EvidenceResult:
    """The result of a stream of log weights."""
    return EvidenceResult(
        stream.log_mean(),
        stream.log_mean_error(),
        stream.ess(),
        stream.mean_log(),
        stream.mean_log_error(),
        stream.count,
        scale,
    )
