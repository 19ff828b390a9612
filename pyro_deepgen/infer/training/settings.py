"""The settings of a fit: their checks, the rate of each step, and what a resumed run must share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..._numerics.checks import check_choice, check_positive, check_positive_int

__all__ = ["FitSettings"]

FINAL_SHARE = 0.01


@dataclass(frozen=True)
class FitSettings:
    """The host-free arguments of ``fit``, checked."""

    num_steps: int
    learning_rate: str | float | Callable
    decay: str
    clip_norm: float | None
    patience: int | None
    evaluate_every: int
    keep: str
    average: float | None
    batch_size: int | None
    skip_norm: float | None
    aggressive_steps: int
    checkpoint: str | Path | None
    checkpoint_every: int
    resume: bool
    progress: bool
    callback: Callable | None = None

    def __post_init__(self):
        for name in ("num_steps", "evaluate_every", "checkpoint_every"):
            check_positive_int(name, getattr(self, name))
        check_choice("decay", self.decay, ("cosine", "constant"))
        check_choice("keep", self.keep, ("best", "last"))
        if isinstance(self.learning_rate, str):
            check_choice("learning_rate", self.learning_rate, ("auto",))
        elif not callable(self.learning_rate):
            check_positive("learning_rate", self.learning_rate)
        check_positive_int("aggressive_steps", self.aggressive_steps, minimum=0)
        for name in ("clip_norm", "skip_norm"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if self.average is not None:
            check_positive("average", self.average, upper=1.0)
        if self.patience is not None:
            check_positive_int("patience", self.patience)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(
                f"callback must be callable, got {type(self.callback).__name__}; pass a function "
                "of the step and the loss."
            )
        if self.checkpoint is not None and not Path(self.checkpoint).absolute().parent.is_dir():
            raise ValueError(
                f"checkpoint must lie in an existing folder, got {str(self.checkpoint)!r}; "
                "create its folder first."
            )

    def rates(self, peak: float | None, start: int, stop: int) -> np.ndarray:
        """Learning rates of the steps ``start, ..., stop - 1``."""
        if peak is None:
            return np.array([float(self.learning_rate(step)) for step in range(start, stop)])
        return peak * self._decay(np.arange(start, stop), self.num_steps)

    def trial_rates(self, peak: float, num_steps: int) -> np.ndarray:
        """Learning rates of a short trial, which decays to its own end as the whole run does."""
        return peak * self._decay(np.arange(num_steps), num_steps)

    def _decay(self, steps: np.ndarray, num_steps: int) -> np.ndarray:
        if self.decay == "constant":
            return np.ones(len(steps))
        # Loshchilov & Hutter 2017, eq. 5
        share = 0.5 * (1.0 + np.cos(math.pi * steps / num_steps))
        return FINAL_SHARE + (1.0 - FINAL_SHARE) * share

    def weights(self, start: int, stop: int) -> np.ndarray:
        """Share of the new parameters in their moving average at steps ``start, ..., stop - 1``.

        With decay ``b``, ``a_t = b a_{t-1} + (1 - b) p_t`` divided by ``1 - b^t`` (Kingma & Ba
        2015, section 7.2) is the running mean ``m_t = m_{t-1} + w_t (p_t - m_{t-1})`` with
        ``w_t = (1 - b) / (1 - b^t)``.
        """
        if self.average is None:
            return np.zeros(stop - start)
        steps = np.arange(start + 1, stop + 1)
        return (1.0 - self.average) / -np.expm1(steps * math.log(self.average))

    def next_stop(self, step: int) -> int:
        """The next step at which there is something to do besides training."""
        stops = [(step // self.evaluate_every + 1) * self.evaluate_every, self.num_steps]
        if self.checkpoint is not None:
            stops.append((step // self.checkpoint_every + 1) * self.checkpoint_every)
        return min(stops)

    def fingerprint(self) -> dict:
        """What decides the result, and so must be the same in a run that resumes this one."""
        rate = self.learning_rate
        if callable(rate):
            rate = [float(rate(step)) for step in (0, self.num_steps // 2, self.num_steps - 1)]
        found = {
            "learning_rate": rate,
            "decay": self.decay,
            "clip_norm": self.clip_norm,
            "patience": self.patience,
            "evaluate_every": self.evaluate_every,
            "keep": self.keep,
            "average": self.average,
        }
        for name in ("batch_size", "skip_norm", "aggressive_steps"):
            if value := getattr(self, name):
                found[name] = value
        # a constant rate and a schedule do not know the length of the run, so it may be extended
        if self.decay == "cosine" and not callable(self.learning_rate):
            found["num_steps"] = self.num_steps
        return found
