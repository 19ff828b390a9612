r"""Records of a comparison: one result a method, its verdict, the model and the reference.

Shapes: draws of a site have shape ``(chain, draw) + event_shape`` and are constrained; log
importance weights have shape ``(draws,)``; entries of ``sample_stats`` have shape
``(chain, draw)``. Times are wall seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "Estimate",
    "Method",
    "MethodResult",
    "ModelSummary",
    "Reference",
    "Verdict",
    "estimate",
]

LEVELS = ("trust", "caution", "reject")


@dataclass(frozen=True)
class Estimate:
    """A number with its Monte Carlo standard error, or None with the reason why there is none.

    Args:
        value: the number, always finite, or None.
        error: Monte Carlo standard error of ``value``, or None where it is exact or unknown.
        note: what to know about it; the reason where ``value`` is None.
        where: the name of the scalar or chain the number belongs to, if it is an extreme.
    """

    value: float | None
    error: float | None = None
    note: str = ""
    where: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"n/a ({self.note})"
        text = f"{self.value:.4g}"
        return text if self.error is None else f"{text} +- {self.error:.2g}"


def estimate(value, error=None, note: str = "", where: str = "") -> Estimate:
    """An :class:`Estimate` that never holds NaN or infinity: those become None with a reason.

    Example:
        >>> estimate(float("nan")).value is None
        True
    """
    value = float(value)
    if not np.isfinite(value):
        return Estimate(None, None, note or f"not finite ({value})", where)
    error = None if error is None or not np.isfinite(error) else float(error)
    return Estimate(value, error, note, where)


@dataclass(frozen=True)
class ModelSummary:
    """What a model's trace says before anything runs.

    Args:
        name: the model's name.
        latent_shapes: continuous latent site -> shape of one value.
        latent_dim: number of unconstrained coordinates of the continuous latent sites.
        discrete: names of the discrete latent sites.
        observed: names of the observed sites.
    """

    name: str
    latent_shapes: Mapping[str, tuple]
    latent_dim: int
    discrete: tuple = ()
    observed: tuple = ()

    def to_dict(self) -> dict:
        """The summary as a plain dictionary."""
        return {
            "name": self.name,
            "latent_shapes": {k: list(v) for k, v in self.latent_shapes.items()},
            "latent_dim": self.latent_dim,
            "discrete": list(self.discrete),
            "observed": list(self.observed),
        }


@dataclass(frozen=True)
class Method:
    """One entry of an engine's registry.

    Args:
        name: the name on the command line.
        kind: ``"mcmc"`` or ``"guide"``.
        run: ``run(context, settings, progress) -> MethodResult``.
        description: one line.
        discrete: whether the method can handle (enumerate) discrete latent sites.
    """

    name: str
    kind: str
    run: Any
    description: str
    discrete: bool = False


@dataclass(frozen=True)
class Verdict:
    """How far a method's draws can be trusted, and why.

    Args:
        level: ``"trust"``, ``"caution"`` or ``"reject"``.
        reasons: readable sentences, the weightiest first.
    """

    level: str
    reasons: tuple = ()

    def __post_init__(self):
        if self.level not in LEVELS:
            raise ValueError(f"level must be one of {LEVELS}, got {self.level!r}")


@dataclass
class MethodResult:
    """What one method gave.

    Args:
        name: the method's name.
        kind: ``"mcmc"`` or ``"guide"``.
        draws: site -> array of shape ``(chain, draw) + event_shape``, constrained.
        timings: seconds under ``"compile"``, ``"fit"`` and ``"draw"``.
        losses: negative ELBO of every optimisation step (guides).
        log_weights: ``log p(x, z) - log q(z)`` of the guide's draws.
        sample_stats: name -> array ``(chain, draw)`` (MCMC).
        settings: what the method ran with.
        metrics: name -> :class:`Estimate`.
        verdict: set by the comparison.
        error: one line if the method failed, else None.
        notes: what the method wants known, such as the start its guide took.
    """

    name: str
    kind: str
    draws: dict = field(default_factory=dict)
    timings: dict = field(default_factory=dict)
    losses: np.ndarray | None = None
    log_weights: np.ndarray | None = None
    sample_stats: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    verdict: Verdict | None = None
    error: str | None = None
    notes: list = field(default_factory=list)

    @property
    def total_seconds(self) -> float:
        """Wall time over compile, fit and draw."""
        return float(sum(self.timings.values()))

    @property
    def run_seconds(self) -> float:
        """Wall time of fit and draw, without compilation."""
        return float(self.timings.get("fit", 0.0) + self.timings.get("draw", 0.0))


@dataclass
class Reference:
    """Draws to measure the methods against, with the judgement of the draws themselves.

    Args:
        source: where they come from, for the reader.
        draws: site -> array ``(chain, draw) + event_shape``.
        verdict: whether the draws deserve that role.
        method: the method they are the run of, if they are one's.
        sample_stats: name -> array ``(chain, draw)``, where known.
    """

    source: str
    draws: dict
    verdict: Verdict | None = None
    method: str | None = None
    sample_stats: dict = field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        """Whether the methods may be judged against these draws as if they were the truth."""
        return self.verdict is not None and self.verdict.level == "trust"
