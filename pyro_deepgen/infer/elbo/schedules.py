"""Weights of the divergence over the steps of training."""

from dataclasses import dataclass

import numpy as np

from ..._numerics.checks import check_positive, check_positive_int

__all__ = ["KLCycle", "KLWarmup", "check_weight", "weights_of_steps"]


@dataclass(frozen=True)
class KLWarmup:
    r"""Weight of the divergence that rises linearly and then stays.

    .. math:: \beta_t = \text{start} + (\text{end} - \text{start}) \min(t / \text{num\_steps}, 1)

    Args:
        num_steps: steps until ``end`` is reached, at least 1. Training must last longer.
        start: first weight, at least 0.
        end: last weight, positive.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range.

    Example:
        >>> schedule = KLWarmup(100)
        >>> schedule(0), schedule(50), schedule(1000)
        (0.0, 0.5, 1.0)

    References:
        Bowman et al. (2016), Generating sentences from a continuous space, section 3.1; Sonderby et
        al. (2016), Ladder variational autoencoders, eq. 22.
    """

    num_steps: int
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        check_positive_int("num_steps", self.num_steps)
        check_weight("start", self.start)
        check_positive("end", self.end)

    def __call__(self, step: int) -> float:
        """Return the weight at a step, counted from 0."""
        share = min(step / self.num_steps, 1.0)
        return float(self.start + (self.end - self.start) * share)


@dataclass(frozen=True)
class KLCycle:
    r"""Weight of the divergence that rises several times and then stays.

    Of each of ``num_cycles`` equal parts of ``num_steps`` steps the first share, ``rise``, goes
    linearly from ``start`` to ``end``.

    Args:
        num_steps: steps of all cycles together, at least ``num_cycles``. Training must last longer.
        num_cycles: number of cycles, at least 1.
        rise: share of a cycle in (0, 1] in which the weight rises.
        start: weight at the start of each cycle, at least 0.
        end: weight at the end of each, positive.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range.

    Example:
        >>> schedule = KLCycle(100, num_cycles=2, rise=0.5)
        >>> [schedule(step) for step in (0, 10, 30, 50, 60, 99, 100)]
        [0.0, 0.4, 1.0, 0.0, 0.4, 1.0, 1.0]

    References:
        Fu et al. (2019), Cyclical annealing schedule, eq. 6 and 7.
    """

    num_steps: int
    num_cycles: int = 4
    rise: float = 0.5
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        check_positive_int("num_cycles", self.num_cycles)
        check_positive_int("num_steps", self.num_steps, minimum=self.num_cycles)
        check_positive("rise", self.rise)
        if self.rise > 1.0:
            raise ValueError(f"rise must be at most 1, got {self.rise}; pass a share of a cycle.")
        check_weight("start", self.start)
        check_positive("end", self.end)

    def __call__(self, step: int) -> float:
        """Return the weight at a step, counted from 0."""
        if step >= self.num_steps:
            return float(self.end)
        # Fu et al. 2019, eq. 7
        place = step * self.num_cycles % self.num_steps / self.num_steps
        return float(self.start + (self.end - self.start) * min(place / self.rise, 1.0))


def check_weight(name: str, value: float) -> float:
    """Return ``value`` as a float, or raise unless it is zero or positive and finite."""
    return 0.0 if value == 0 and not isinstance(value, bool) else check_positive(name, value)


def weights_of_steps(schedule, start: int, stop: int) -> np.ndarray:
    """Weights of the steps ``start, ..., stop - 1``."""
    return np.array([schedule(step) for step in range(start, stop)], np.float64)
