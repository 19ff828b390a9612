"""What annealing found."""

from dataclasses import dataclass, field

import numpy as np

from .modes import Modes

__all__ = ["AnnealedResult", "summarize_islands"]


@dataclass(frozen=True)
class AnnealedResult:
    """Particles of a posterior from annealing, its evidence and its modes.

    Attributes:
        samples: site name to values, shape ``(num_particles,) + site shape``, equally weighted.
        points: the same on the unconstrained space, shape ``(num_particles, D)``.
        log_evidence: log of the mean evidence of the islands, in nats.
        log_evidence_error: its standard error.
        log_evidences: the estimate of each island, shape ``(num_repeats,)``.
        num_stages: number of temperatures.
        modes: a mixture of normals near the posterior: its components, the mode of each one
            (``modes.labels``), and the share of each mode (``modes.masses``), largest first.
    """

    samples: dict = field(repr=False)
    points: np.ndarray = field(repr=False)
    log_evidence: float
    log_evidence_error: float
    log_evidences: np.ndarray
    num_stages: int
    modes: Modes = field(repr=False)

    def __str__(self) -> str:
        shares = ", ".join(f"{mass:.3f}" for mass in self.modes.masses)
        islands = ", ".join(f"{value:.2f}" for value in self.log_evidences)
        return (
            f"log evidence {self.log_evidence:.3f} +- {self.log_evidence_error:.3f} "
            f"(islands {islands}; {self.num_stages} temperatures)\n"
            f"{len(self.modes.masses)} mode(s) of {len(self.modes.labels)} normal component(s), "
            f"shares {shares}"
        )


def summarize_islands(log_evidences: np.ndarray) -> tuple[float, float]:
    """The log of the mean evidence of the islands, and its standard error."""
    top = log_evidences.max()
    weights = np.exp(log_evidences - top)
    mean = weights.mean()
    error = weights.std(ddof=1) / (mean * np.sqrt(len(weights)))
    return float(top + np.log(mean)), float(error)
