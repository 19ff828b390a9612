"""Which steps of training are taken, and by which parameters."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

__all__ = ["ALL", "GUIDE", "MAX_SKIPPED", "MODEL", "Skipped", "Turns"]

MAX_SKIPPED = 100
MAX_GUIDE_STEPS = 100
WINDOW = 10
GUIDE, MODEL, ALL = range(3)


class Skipped(NamedTuple):
    """Counts of steps that were left out because their gradients were too large.

    As in Child (2021), section 5.1.
    """

    in_a_row: Array
    total: Array

    @classmethod
    def none(cls) -> "Skipped":
        """At the start."""
        return cls(jnp.array(0), jnp.array(0))

    def after(self, skipped: Array) -> "Skipped":
        """After one more step."""
        return Skipped(jnp.where(skipped, self.in_a_row + 1, 0), self.total + skipped)


class Turns(NamedTuple):
    """Whose turn a step is: aggressive training of the guide (He et al. 2019, algorithm 1).

    In the first steps the guide is trained until the mean loss of ten steps is above that of the
    ten before, or for a hundred steps; then the model takes one step, and so on.
    """

    count: Array
    total: Array
    before: Array

    @classmethod
    def first(cls) -> "Turns":
        """The beginning of the turn of the guide."""
        return cls(jnp.array(0), jnp.array(0.0), jnp.array(jnp.inf))

    def of(self, step: Array, num_steps: int) -> Array:
        """``GUIDE``, ``MODEL`` or ``ALL``."""
        return jnp.where(step >= num_steps, ALL, jnp.where(self.count < 0, MODEL, GUIDE))

    def after(self, turn: Array, loss: Array) -> "Turns":
        """After one more step."""
        count, total = self.count + 1, self.total + loss.astype(self.total.dtype)
        full = count % WINDOW == 0
        ended = full & ((total > self.before) | (count >= MAX_GUIDE_STEPS))
        guide = Turns(
            jnp.where(ended, -1, count),
            jnp.where(full, 0.0, total),
            jnp.where(full, total, self.before),
        )
        restarted = Turns.first()
        return Turns(
            *(
                jnp.where(turn == MODEL, new, jnp.where(turn == GUIDE, moved, old))
                for new, moved, old in zip(restarted, guide, self, strict=True)
            )
        )
