"""Bounds with a weight that changes over the steps of training."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

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
    def bound(self, program: Program, weight: float = 1.0) -> Tensor:
        """The objective at a weight."""

    def differentiable_loss(
        self, model: Callable, guide: Callable, *args, kl_weight: float | None = None, **kwargs
    ) -> Tensor:
        """Return the negative objective as a tensor to differentiate, at this weight or its own."""
        weight = self._weight if kl_weight is None else kl_weight
        if weight is None:
            raise ValueError(
                "kl_weight must be given to each step of a bound with a schedule, got none; pass "
                "kl_weight=schedule(step), or train with fit."
            )
        return -self.bound(self._program(model, guide, args, kwargs), weight)

    @torch.no_grad()
    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Return an estimate of the negative bound itself."""
        kwargs.pop("kl_weight", None)
        return self._number(self.evaluation.differentiable_loss(model, guide, *args, **kwargs))
