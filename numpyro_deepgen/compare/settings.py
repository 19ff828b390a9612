"""The settings of a comparison: budgets and seeds that every method shares."""

from dataclasses import dataclass, fields

import numpy as np

from .errors import CompareError

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Budgets and seeds that every method of a comparison shares.

    Args:
        num_samples: draws a chain, at least 4.
        num_warmup: warm-up steps a chain, at least 1.
        num_chains: chains, at least 1.
        num_steps: optimisation steps of a guide, at least 1.
        num_particles: ELBO particles a step, at least 1.
        num_guide_draws: independent draws of a guide, at least 4.
        learning_rate: peak rate of Adam, positive; ``"auto"`` finds it by short trials; None takes
            the method's own default.
        target_accept_prob: NUTS's target acceptance probability, in (0, 1).
        seed: non-negative integer.
        x64: compute in float64.
        time_budget: seconds that each method gets after compilation, in place of the numbers of
            steps and draws; None for those numbers.

    Raises:
        CompareError: if a value is outside its range.
    """

    num_samples: int = 500
    num_warmup: int = 300
    num_chains: int = 4
    num_steps: int = 2000
    num_particles: int = 8
    num_guide_draws: int = 10000
    learning_rate: float | str | None = None
    target_accept_prob: float = 0.9
    seed: int = 0
    x64: bool = False
    time_budget: float | None = None

    def __post_init__(self):
        lower = {
            "num_samples": 4,
            "num_warmup": 1,
            "num_chains": 1,
            "num_steps": 1,
            "num_particles": 1,
            "num_guide_draws": 4,
            "seed": 0,
        }
        for name, least in lower.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise CompareError(f"{name} must be an integer of at least {least}, got {value!r}")
        self._check_rate()
        budget = self.time_budget
        if budget is not None and not _is_positive(budget):
            raise CompareError(
                f"time_budget must be a positive number of seconds, got {budget!r}; leave it out "
                "to count steps and draws"
            )
        if not 0 < self.target_accept_prob < 1:
            raise CompareError(
                f"target_accept_prob must lie in (0, 1), got {self.target_accept_prob!r}"
            )

    def _check_rate(self) -> None:
        rate = self.learning_rate
        if rate == "auto" and self.time_budget is not None:
            raise CompareError(
                "learning_rate must be a number with a time_budget, got 'auto', whose trials need "
                "a number of steps; leave it out for the default"
            )
        if rate is not None and rate != "auto" and not _is_positive(rate):
            raise CompareError(
                f"learning_rate must be positive, got {rate!r}; leave it out for the default"
            )

    def to_dict(self) -> dict:
        """The settings as a plain dictionary."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def _is_positive(value) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and bool(np.isfinite(value)) and value > 0
