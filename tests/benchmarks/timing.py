"""Interleaved timing of callables, by the processor time of this process."""

import random
import statistics
import time
from collections.abc import Callable, Hashable

__all__ = ["interleaved"]


def interleaved(
    calls: dict[Hashable, Callable[[], object]],
    num_rounds: int = 7,
    min_seconds: float = 0.02,
    max_seconds: float = 5.0,
    clock: Callable[[], float] = time.process_time,
    seed: int = 0,
) -> dict[Hashable, float]:
    """Return the median seconds of one call of each.

    All calls are timed in every round, in an order shuffled anew, so that a change of the machine's
    load or clock rate falls on all of them. Each timing repeats its call until ``min_seconds`` have
    passed; calls that take longer than ``max_seconds`` in all are left out of further rounds.

    Args:
        calls: functions without arguments; each must end when its work is done.
        num_rounds: timings of each call.
        min_seconds: least duration of one timing.
        max_seconds: most seconds spent on one call over all rounds.
        clock: what counts, seconds; processor time by default.
        seed: of the shuffled order.
    """
    rng, found, repeats = random.Random(seed), {name: [] for name in calls}, {}
    for name, call in calls.items():
        call()
        start = clock()
        call()
        repeats[name] = 1 + int(min_seconds / max(clock() - start, 1e-7))
    spent = dict.fromkeys(calls, 0.0)
    for _ in range(num_rounds):
        names = list(calls)
        rng.shuffle(names)
        for name in names:
            if found[name] and spent[name] > max_seconds:
                continue
            start = clock()
            for _ in range(repeats[name]):
                calls[name]()
            duration = clock() - start
            spent[name] += duration
            found[name].append(duration / repeats[name])
    return {name: statistics.median(times) for name, times in found.items()}
