"""How much of a posterior a guide sees."""

from dataclasses import dataclass, field

import numpy as np

from ..._numerics.importance import MAX_KHAT
from .result import AnnealedResult

__all__ = ["CoverageResult", "guide_shares", "summarize_coverage"]

LOST = 0.1


@dataclass(frozen=True)
class CoverageResult:
    r"""The share of a posterior's mass that a guide covers, in all and by mode.

    Attributes:
        fraction: :math:`\exp(\log \hat Z_q - \log \hat Z)`, the evidence that the guide's draws see
            over the annealed one; about 1 for a guide that covers the posterior.
        fraction_error: its standard error, from those of both estimates.
        posterior_masses: share of each mode in the posterior, largest first, shape ``(M,)``.
        guide_masses: share of the guide's draws at each mode, shape ``(M,)``.
        khat: Pareto shape of the guide's importance weights.
        log_evidence: what the guide's draws see of the evidence, in nats.
        log_evidence_error: its standard error.
        annealed: what annealing found.
    """

    fraction: float
    fraction_error: float
    posterior_masses: np.ndarray
    guide_masses: np.ndarray
    khat: float
    log_evidence: float
    log_evidence_error: float
    annealed: AnnealedResult = field(repr=False)

    @property
    def lost_modes(self) -> list[int]:
        """Modes, counted from 0, at which the guide has less than a tenth of the share due."""
        lost = self.guide_masses < LOST * self.posterior_masses
        return [int(mode) for mode in np.flatnonzero(lost)]

    def __str__(self) -> str:
        annealed = self.annealed
        lines = [
            f"the guide covers {self.fraction:.2f} +- {self.fraction_error:.2f} of the posterior "
            f"(log evidence {self.log_evidence:.3f} +- {self.log_evidence_error:.3f} seen, "
            f"{annealed.log_evidence:.3f} +- {annealed.log_evidence_error:.3f} annealed)"
        ]
        pairs = zip(self.posterior_masses, self.guide_masses, strict=True)
        for mode, (posterior, guide) in enumerate(pairs):
            note = "  LOST" if mode in self.lost_modes else ""
            lines.append(f"mode {mode}: posterior {posterior:.3f}, guide {guide:.3f}{note}")
        if self.khat > MAX_KHAT:
            lines.append(f"k-hat is {self.khat:.2f}: what the guide sees is itself uncertain")
        return "\n".join(lines)


def guide_shares(annealed: AnnealedResult, points: np.ndarray) -> np.ndarray:
    """Share of a guide's draws, unconstrained and of shape ``(N, D)``, at each mode."""
    modes = annealed.modes
    nearest = modes.mixture.joint_log_probs(points).argmax(-1)
    return np.bincount(modes.labels[nearest], minlength=len(modes.masses)) / len(points)


def summarize_coverage(annealed: AnnealedResult, weighted, points: np.ndarray) -> CoverageResult:
    """Compare annealed particles with the weighted draws of a guide.

    Args:
        annealed: what annealing found.
        weighted: the :class:`ImportanceResult` of the guide.
        points: its draws on the unconstrained space, shape ``(N, D)``.
    """
    fraction = float(np.exp(weighted.log_evidence - annealed.log_evidence))
    error = np.hypot(weighted.log_evidence_error, annealed.log_evidence_error)
    return CoverageResult(
        fraction,
        float(fraction * error),
        annealed.modes.masses,
        guide_shares(annealed, points),
        weighted.khat,
        weighted.log_evidence,
        weighted.log_evidence_error,
        annealed,
    )
