"""Bounds with a weight that changes over the steps of training."""

from abc import abstractmethod
from collections.abc import Callable

from jax import Array

from .base import ParticleELBO
from .particles import Program
from .schedules import check_weight

__all__ = ["ScheduledELBO"]


class ScheduledELBO(ParticleELBO):
    """A bound with a weight, a number or a schedule, which at weight 1 is :attr:`evaluation`.

    Args:
        name: name of the weight in messages.
        weight: the weight, at least 0, or a function of the step with ``num_steps``.
        num_particles: number of particles.
        chunk: number of particles whose computations are held in memory, None for all.
    """

    def __init__(self, name: str, weight: float | Callable, num_particles: int, chunk: int | None):
        super().__init__(num_particles, chunk)
        self.schedule = weight if callable(weight) else None
        self._weight = None if callable(weight) else check_weight(name, weight)

    @property
    @abstractmethod
    def evaluation(self) -> ParticleELBO:
        """The bound itself."""

    @abstractmethod
    def bound(self, program: Program, weight: float | Array = 1.0) -> Array:
        """The objective at a weight."""

    def loss(
        self,
        rng_key: Array,
        param_map: dict,
        model: Callable,
        guide: Callable,
        *args,
        kl_weight: float | Array | None = None,
        **kwargs,
    ) -> Array:
        """Return an estimate of the negative objective, at this weight or its own."""
        found = self.loss_with_mutable_state(
            rng_key, param_map, model, guide, *args, kl_weight=kl_weight, **kwargs
        )
        return found["loss"]

    def loss_with_mutable_state(
        self,
        rng_key: Array,
        param_map: dict,
        model: Callable,
        guide: Callable,
        *args,
        kl_weight: float | Array | None = None,
        **kwargs,
    ) -> dict:
        """Return an estimate of the negative objective, and the mutable state or None."""
        weight = self._weight if kl_weight is None else kl_weight
        if weight is None:
            raise ValueError(
                "kl_weight must be given to each step of a bound with a schedule, got none; pass "
                "kl_weight=schedule(step), or train with fit."
            )
        program = self._program(rng_key, param_map, model, guide, args, kwargs)
        loss = -self.bound(program, weight)
        return {"loss": loss, "mutable_state": program.mutable_state or None}
