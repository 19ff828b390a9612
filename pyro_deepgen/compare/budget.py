"""Budgets of steps or of seconds: learning rates, the end of a run, and where its time went."""

import math
import time

__all__ = ["Deadline", "TrainingClock"]

FINAL_RATE = 0.01
NUM_CHUNKS = 20
TIMED_CHUNK = 20
ENDLESS = 10**7


class TrainingClock:
    """The learning rate and the end of a training, and its times of compilation and of steps.

    The peak rate decays along a cosine to a hundredth of it, over the steps or, under a budget of
    time, over the seconds. Those begin after the first chunk of steps, which compiles.

    Args:
        peak: peak learning rate, or ``"auto"``.
        num_steps: number of steps.
        time_budget: seconds, or None to count steps.
        bar: progress bar, in steps or in seconds.
    """

    def __init__(self, peak: float | str, num_steps: int, time_budget: float | None, bar):
        self.peak, self.budget, self.bar = peak, time_budget, bar
        self.num_steps = num_steps if time_budget is None else ENDLESS
        chunk = -(-num_steps // NUM_CHUNKS)
        self.chunk = chunk if time_budget is None else min(chunk, TIMED_CHUNK)
        self.begun = time.perf_counter()
        self.marks: list[tuple[int, float]] = []
        bar.reset(total=num_steps if time_budget is None else round(time_budget, 1))

    def rate(self, step: int) -> float:
        """Learning rate of a step (Loshchilov & Hutter 2017, eq. 5)."""
        share = step / self.num_steps if self.budget is None else self.elapsed() / self.budget
        share = 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
        return self.peak * (FINAL_RATE + (1.0 - FINAL_RATE) * share)

    def elapsed(self) -> float:
        """Seconds since the first chunk of steps was done."""
        return time.perf_counter() - self.marks[0][1] if self.marks else 0.0

    def __call__(self, step: int, loss: float) -> bool:
        """Note that a chunk of steps is done, and return whether the time is out."""
        self.marks.append((step, time.perf_counter()))
        if self.budget is None:
            self.bar.update(step - self.bar.n)
            return False
        self.bar.update(min(round(self.elapsed(), 1), self.bar.total) - self.bar.n)
        return self.elapsed() >= self.budget

    def timings(self) -> dict[str, float]:
        """Seconds of compilation, with all that went before, and of the steps.

        The first chunk holds both: what it took beyond the pace of the others is compilation.
        """
        total = time.perf_counter() - self.begun
        if len(self.marks) < 2:
            return {"compile": 0.0, "fit": total}
        (first, start), (last, end) = self.marks[0], self.marks[-1]
        pace = (end - start) / (last - first)
        compiling = max(start - self.begun - pace * first, 0.0)
        return {"compile": compiling, "fit": total - compiling}


class Deadline:
    """Numbers of warm-up steps and draws of chains, and the moment to stop under a time budget.

    Args:
        num_samples: draws, where no time is set.
        time_budget: seconds for warm-up and draws, or None to count draws.
        chunk: draws between looks at the clock.
    """

    max_samples = 20000

    def __init__(self, num_samples: int, time_budget: float | None, chunk: int):
        self.num_samples = num_samples if time_budget is None else self.max_samples
        self.budget, self.chunk = time_budget, chunk
        self.begun: float | None = None

    def start(self) -> None:
        """Begin to count the seconds."""
        self.begun = time.perf_counter()

    def over(self, done: int) -> bool:
        """Whether to stop after so many draws."""
        if done >= self.num_samples:
            return True
        if self.budget is None or done < self.chunk:
            return False
        return time.perf_counter() - self.begun >= self.budget

    def note(self, warmup_seconds: float, done: int) -> list[str]:
        """What the reader must know of a run under a time budget."""
        if self.budget is None:
            return []
        lines = [f"{done} draws a chain in the time budget of {self.budget:g} s"]
        if warmup_seconds > 0.5 * self.budget:
            lines.append(f"the warm-up took {warmup_seconds:.1f} s of the time budget")
        if done >= self.max_samples:
            lines.append(f"stopped at {done} draws a chain before the time was out")
        return lines
