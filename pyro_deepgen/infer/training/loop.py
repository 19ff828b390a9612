"""The loop of a fit around a trainer of the host: trials, evaluations, checkpoints, interrupts."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from .checkpoint import read_checkpoint, write_checkpoint
from .result import FitError, FitLog, FitResult
from .settings import FitSettings

__all__ = ["RATES", "Trainer", "run_fit"]

RATES = (3e-4, 1e-3, 5e-3, 2e-2, 1e-1)
NUM_TRIAL_STEPS = 100
NUM_SCORED_STEPS = 20


class Trainer(Protocol):
    """What the loop asks of a host: the state of training, and steps."""

    held_out: bool
    num_warmup_steps: int
    num_skipped: int

    def fingerprint(self) -> dict:
        """What decides the result besides the settings."""

    def advance(
        self,
        rates: np.ndarray,
        weights: np.ndarray,
        losses: list,
        stop: Callable[[], bool],
        first: int = 0,
    ) -> str:
        """Take a step for each rate, appending its loss; stop before one that is not finite.

        The steps are counted from ``first``.

        Returns:
            What was not finite, or nothing. The state is that after the last good step.
        """

    def diagnose(self) -> str:
        """The sites and parameters that are not finite in the step that :meth:`advance` refused."""

    def evaluate(self) -> float:
        """The loss on held-out arguments, with the same randomness every time."""

    def remember(self) -> None:
        """Keep the parameters as the best ones, and the best ones until now as the older ones."""

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of the whole state, the random state included."""

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Go back to a state that :meth:`arrays` gave."""

    def finish(self, which: str) -> dict:
        """Put the ``'best'``, ``'older'`` or ``'last'`` parameters in place and return them."""


def run_fit(trainer: Trainer, settings: FitSettings) -> FitResult:
    """Train to the end, from a checkpoint where there is one.

    Raises:
        FitError: if a loss or gradient is not finite.
        ValueError: if the checkpoint is of another fit, or the loss warms up for longer.
    """
    if trainer.num_warmup_steps > settings.num_steps:
        raise ValueError(
            f"num_steps must be at least {trainer.num_warmup_steps}, the steps that loss warms up "
            f"for, got {settings.num_steps}; train longer or shorten the schedule."
        )
    begun = time.perf_counter()
    fingerprint = settings.fingerprint() | trainer.fingerprint()
    log = _resume(trainer, settings, fingerprint)
    if log is None:
        log = _begin(trainer, settings)
    before = log.seconds

    def save():
        log.seconds = before + time.perf_counter() - begun
        if settings.checkpoint is not None:
            write_checkpoint(settings.checkpoint, trainer.arrays(), log, fingerprint)

    with _progress(settings, log) as bar, _deferred_interrupt() as pressed:
        try:
            _train(trainer, settings, log, bar, pressed, save)
        except KeyboardInterrupt:
            if pressed():
                raise
            log.stopped = "interrupted"
        except FitError as error:
            if error.result is not None:
                error.result.seconds = before + time.perf_counter() - begun
            raise
    save()
    return _result(trainer, settings, log)


def _result(trainer: Trainer, settings: FitSettings, log: FitLog) -> FitResult:
    steps = {"best": log.best_step, "older": log.older_step, "last": log.step}
    which = settings.keep if log.best_step else "last"
    if log.stopped == "failed":
        # those of the last step are the ones that failed
        which = "best" if log.best_step < log.step else "older"
    return log.result(trainer.finish(which), steps[which])


def _resume(trainer: Trainer, settings: FitSettings, fingerprint: dict) -> FitLog | None:
    if settings.checkpoint is None or not settings.resume:
        return None
    if not Path(settings.checkpoint).exists():
        return None
    arrays, log = read_checkpoint(settings.checkpoint, fingerprint)
    trainer.load(arrays)
    if log.stopped != "early":
        log.stopped = "running"
    return log


def _begin(trainer: Trainer, settings: FitSettings) -> FitLog:
    if callable(settings.learning_rate):
        return FitLog()
    if settings.learning_rate != "auto":
        return FitLog(learning_rate=float(settings.learning_rate))
    trials = _try_rates(trainer, settings)
    return FitLog(learning_rate=min(trials, key=lambda trial: trial[1])[0], trials=trials)


def _try_rates(trainer: Trainer, settings: FitSettings) -> list[tuple[float, float]]:
    """The loss after a short run with each rate, from one start and with one randomness."""
    start = trainer.arrays()
    num_steps = min(NUM_TRIAL_STEPS, settings.num_steps)
    trials = []
    try:
        for rate in tqdm(RATES, "learning rates", leave=False, disable=not settings.progress):
            losses: list[float] = []
            rates = settings.trial_rates(rate, num_steps)
            failure = trainer.advance(rates, np.ones(num_steps), losses, lambda: False)
            if failure and not trials:
                raise FitError(_not_finite(trainer, failure, len(losses), rate))
            trials.append((rate, float("inf") if failure else _score(trainer, losses)))
            trainer.load(start)
    except BaseException:
        trainer.load(start)
        raise
    return trials


def _score(trainer: Trainer, losses: list[float]) -> float:
    last = [loss for loss in losses[-NUM_SCORED_STEPS:] if np.isfinite(loss)]
    value = trainer.evaluate() if trainer.held_out else np.mean(last or [float("inf")])
    return float(value) if np.isfinite(value) else float("inf")


def _train(
    trainer: Trainer,
    settings: FitSettings,
    log: FitLog,
    bar: tqdm,
    pressed: Callable[[], bool],
    save: Callable[[], None],
) -> None:
    """Take steps until there is a reason to stop, which the log then holds.

    All decisions are functions of the step and the log, and a step is evaluated before anything
    else happens at it: a run cut anywhere and resumed decides as one that was not.
    """
    saved, done = None, False
    while log.stopped == "running":
        at_end = log.step >= settings.num_steps
        due = at_end or log.step % settings.evaluate_every == 0
        # losses of a warm-up do not compare with those after it
        warm = log.step >= trainer.num_warmup_steps
        if log.step and due and warm and not log.evaluated():
            _evaluate(trainer, settings, log)
        if settings.patience is not None and log.num_stale() >= settings.patience:
            log.stopped = "early"
        elif at_end:
            log.stopped = "finished"
        elif pressed():
            log.stopped = "interrupted"
        elif done and not warm:
            log.stopped = "failed"
            raise FitError(
                f"training must last until the loss has warmed up, at step "
                f"{trainer.num_warmup_steps}, got a callback that ends it at step {log.step}; let "
                "it go on or shorten the schedule.",
                _result(trainer, settings, log),
            )
        elif done:
            log.stopped = "callback"
        else:
            if log.step % settings.checkpoint_every == 0 and saved != log.step:
                saved = log.step
                save()
            done = _advance(trainer, settings, log, bar, pressed)


def _advance(
    trainer: Trainer, settings: FitSettings, log: FitLog, bar: tqdm, pressed: Callable[[], bool]
) -> bool:
    """Take the steps until there is something else to do; return whether the callback says stop."""
    start, stop = log.step, settings.next_stop(log.step)
    rates = settings.rates(log.learning_rate, start, stop)
    weights = settings.weights(start, stop)
    failure = trainer.advance(rates, weights, log.losses, pressed, start)
    log.num_skipped = trainer.num_skipped
    if failure:
        rate = rates[log.step - start]
        message = _not_finite(trainer, failure, log.step, rate)
        log.stopped = "failed"
        raise FitError(message, _result(trainer, settings, log) if log.step else None)
    if log.step > start:
        bar.update(log.step - start)
        mean, _ = log.window(settings.evaluate_every)
        bar.set_postfix(loss=f"{mean:.4g}", rate=f"{rates[log.step - start - 1]:.2g}")
        if settings.callback is not None:
            return bool(settings.callback(log.step, mean))
    return False


def _evaluate(trainer: Trainer, settings: FitSettings, log: FitLog) -> None:
    tolerance = 0.0
    if trainer.held_out:
        value = trainer.evaluate()
        if not np.isfinite(value):
            log.stopped = "failed"
            raise FitError(
                f"held_out_args must have a finite loss, got {value} at step {log.step}; take out "
                "what the model excludes, or lower learning_rate.",
                _result(trainer, settings, log),
            )
    else:
        value, tolerance = log.window(settings.evaluate_every)
    if log.record(value, tolerance):
        trainer.remember()


def _not_finite(trainer: Trainer, failure: str, step: int, rate: float) -> str:
    return (
        f"loss and gradients must stay finite, got {failure} at step {step} with learning rate "
        f"{rate:.3g} ({trainer.diagnose()}); correct the model there, lower learning_rate or use "
        "double precision."
    )


def _progress(settings: FitSettings, log: FitLog) -> tqdm:
    return tqdm(
        total=settings.num_steps, initial=log.step, desc="fit", disable=not settings.progress
    )


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed; pressed twice it raises at once.

    A handler of the user's own stays in charge, and so does a thread that gets no signals.
    """
    pressed: list[int] = []
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )

    def handler(signum, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)

    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: bool(pressed)
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
