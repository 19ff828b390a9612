"""What is said of a guide before and after its training, whatever the host."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import FitError
from .settings import Settings

__all__ = ["FLOWS", "GuideSpec", "Trained", "kept_steps", "start_notes"]

MAX_LOST_SHARE = 0.1
FLOWS = {
    "nsf": "a neural spline flow",
    "maf": "a masked autoregressive flow",
    "iaf": "an inverse autoregressive flow",
    "realnvp": "affine couplings",
    "nice": "additive couplings",
    "flowpp": "couplings by mixtures of logistics",
    "naf": "a neural autoregressive flow",
    "unaf": "an unconstrained monotonic autoregressive flow",
    "bnaf": "a block neural autoregressive flow",
    "sospf": "a sum-of-squares polynomial flow",
    "gaussianization": "Gaussianization layers",
    "planar": "planar transforms",
    "radial": "radial transforms",
    "sylvester": "Sylvester transforms",
}


@dataclass(frozen=True)
class GuideSpec:
    """How to build and train a guide.

    Args:
        build: model -> guide of the host.
        learning_rate: default peak rate of Adam, decayed along a cosine.
        description: one line.
    """

    build: Callable
    learning_rate: float
    description: str


@dataclass
class Trained:
    """A trained guide.

    Args:
        guide: the host's guide.
        params: its parameters: by name, or the state of the host's parameter store.
        losses: of every step.
        timings: seconds under ``"compile"`` and ``"fit"``.
        learning_rate: peak rate it was trained with.
        notes: what the guide wants known.
    """

    guide: Any
    params: Any
    losses: np.ndarray
    timings: dict
    learning_rate: float | None = None
    notes: list = field(default_factory=list)


def start_notes(guide) -> list[str]:
    """Which start a flow guide took."""
    report = getattr(guide, "init_report", None)
    if report is None:
        return []
    tried = [f"{name} {elbo:.2f}" for name, elbo in report.elbo.items()]
    tried += [f"{name} failed" for name in report.failed]
    return [f"start: {report.chosen} (ELBO of the starts: {', '.join(tried)})"]


def kept_steps(error, settings: Settings):
    """The result of a training that failed within its last tenth; raise for any other.

    Args:
        error: the training's error, with the result up to the failure.
        settings: the budgets.

    Raises:
        FitError: if the training failed earlier.
    """
    result = error.result
    taken = 0 if result is None else result.num_steps
    if settings.time_budget is None and taken >= (1.0 - MAX_LOST_SHARE) * settings.num_steps:
        return result
    raise FitError(
        f"the ELBO or its gradient was not finite at step {taken}; try a smaller learning_rate or "
        "x64"
    ) from error
