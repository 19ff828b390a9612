"""What a fit gives back, and the log it keeps on the way."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

__all__ = ["FitError", "FitLog", "FitResult"]


@dataclass
class FitResult:
    """What :func:`fit` found.

    Attributes:
        losses: loss of every step taken, shape ``(steps taken,)``.
        evaluations: pairs of a step and the loss there: held-out where held-out arguments were
            given, else the mean over the steps since the last evaluation.
        params: parameters by name, in the host's own form.
        learning_rate: peak learning rate, or None for a schedule.
        trials: loss that each learning rate on trial ended with, infinite where it failed.
        best_step: number of steps after which the parameters were those returned.
        num_steps: number of steps taken.
        stopped: ``'finished'``, ``'early'``, ``'callback'``, ``'interrupted'`` or ``'failed'``.
        seconds: time spent, including the runs before this one resumed.
        num_skipped: number of steps that were left out for their gradients; a loss that was not
            finite there is NaN.
    """

    losses: np.ndarray
    evaluations: list[tuple[int, float]]
    params: dict[str, Any]
    learning_rate: float | None
    trials: dict[float, float]
    best_step: int
    num_steps: int
    stopped: str
    seconds: float
    num_skipped: int = 0


class FitError(RuntimeError):
    """A loss or gradient that is not finite; the message names the step and the sites.

    Attributes:
        result: :class:`FitResult` up to the failure, with the best parameters so far, or None if
            no step was taken.
    """

    def __init__(self, message: str, result: FitResult | None = None):
        super().__init__(message)
        self.result = result


@dataclass
class FitLog:
    """The history of a fit, part of its checkpoints."""

    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    learning_rate: float | None = None
    trials: list[tuple[float, float]] = field(default_factory=list)
    lowest: float = float("inf")
    lowest_step: int = 0
    best_step: int = 0
    older_step: int = 0
    stopped: str = "running"
    seconds: float = 0.0
    num_skipped: int = 0

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return len(self.losses)

    def evaluated(self) -> bool:
        """Whether the parameters of this step have been evaluated."""
        return bool(self.evaluations) and self.evaluations[-1][0] == self.step

    def window(self, size: int) -> tuple[float, float]:
        """Mean of the last losses and its standard error.

        The error comes from the differences of successive losses, which a trend does not inflate.
        """
        losses = np.array(self.losses[-size:])
        losses = losses[np.isfinite(losses)]
        if len(losses) == 0:
            return float("inf"), 0.0
        if len(losses) < 2:
            return float(losses.mean()), 0.0
        variance = 0.5 * np.mean(np.diff(losses) ** 2)
        return float(losses.mean()), float(np.sqrt(variance / len(losses)))

    def record(self, value: float, tolerance: float) -> bool:
        """Add an evaluation; return whether it is the lowest up to ``tolerance``."""
        good = value <= self.lowest + tolerance
        if value < self.lowest:
            self.lowest, self.lowest_step = value, self.step
        if good:
            self.older_step, self.best_step = self.best_step, self.step
        self.evaluations.append((self.step, value))
        return good

    def num_stale(self) -> int:
        """Number of evaluations since the lowest one."""
        return sum(step > self.lowest_step for step, _ in self.evaluations)

    def result(self, params: dict[str, Any], step: int) -> FitResult:
        """The result with these parameters, which were those after ``step`` steps."""
        return FitResult(
            losses=np.array(self.losses),
            evaluations=list(self.evaluations),
            params=params,
            learning_rate=self.learning_rate,
            trials=dict(self.trials),
            best_step=step,
            num_steps=self.step,
            stopped=self.stopped,
            seconds=self.seconds,
            num_skipped=self.num_skipped,
        )

    def to_dict(self) -> dict:
        """The log without its losses and evaluations."""
        found = asdict(self)
        return {k: v for k, v in found.items() if k not in ("losses", "evaluations")}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The losses and evaluations, as arrays."""
        return {
            "log/losses": np.array(self.losses, dtype=np.float64),
            "log/evaluations": np.array(self.evaluations, dtype=np.float64).reshape(-1, 2),
        }

    @classmethod
    def restore(cls, values: dict, arrays: dict[str, np.ndarray]) -> "FitLog":
        """The log that :meth:`to_dict` and :meth:`to_arrays` describe."""
        values = dict(values, trials=[tuple(pair) for pair in values["trials"]])
        evaluations = [(int(step), value) for step, value in arrays["log/evaluations"].tolist()]
        return cls(losses=arrays["log/losses"].tolist(), evaluations=evaluations, **values)
