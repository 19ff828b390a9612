"""What the bounds share: checked settings, particles, and the host's entry points."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.util import warn_if_nan
from torch import Tensor

from ..._numerics.checks import check_positive_int
from .._vectorize import plate_nesting_if_vectorizable
from .divergence import Divergence
from .particles import Program
from .schedules import KLCycle, KLWarmup

__all__ = ["ParticleELBO", "describe", "schedule_of"]


class ParticleELBO(ELBO):
    """A bound of the host that is a function of the terms of several particles.

    Particles run together in an outermost plate if a test run of model and guide shows that this
    gives the densities of single runs, else one by one.

    Args:
        num_particles: number of particles.
        chunk: number of particles whose computations are held in memory, None for all. The value
            and the gradient are those without chunks, at the cost of a second forward pass.
    """

    def __init__(self, num_particles: int, chunk: int | None):
        num_particles = check_positive_int("num_particles", num_particles)
        if chunk is not None:
            chunk = check_positive_int("chunk", chunk)
        super().__init__(num_particles=num_particles)
        self.chunk = chunk
        self._tested: tuple = ()

    @abstractmethod
    def bound(self, program: Program) -> Tensor:
        """The bound, whose gradient is the estimator's."""

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        """Return the negative bound as a tensor to differentiate."""
        return -self.bound(self._program(model, guide, args, kwargs))

    @torch.no_grad()
    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Return an estimate of the negative bound."""
        return self._number(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Return an estimate of the negative bound, and leave its gradients on the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return self._number(loss)

    def _number(self, loss: Tensor) -> float:
        value = loss.item()
        warn_if_nan(value, "loss")
        return value

    def _program(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> Program:
        chunk = min(self.chunk or self.num_particles, self.num_particles)
        nesting = self._nesting(model, guide, args, kwargs) if chunk > 1 else None
        return Program(model, guide, args, kwargs, self.num_particles, chunk, nesting)

    def _nesting(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> int | None:
        """Depth of the plates if particles may run together, found at the first call."""
        if self._tested[:2] != (model, guide):
            nesting = plate_nesting_if_vectorizable(model, guide, args, kwargs)
            self._tested = (model, guide, nesting)
        return self._tested[2]

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple:
        """One trace of the model and one of the guide, as other code of the host asks for."""
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)


def schedule_of(loss) -> Callable | None:
    """The schedule of the divergence's weight that a bound follows, or None."""
    return getattr(loss, "schedule", None) if isinstance(loss, ParticleELBO) else None


def describe(loss) -> str:
    """The name and settings of a bound of ours, else nothing."""
    if not isinstance(loss, ParticleELBO):
        return ""
    plain = (bool, int, float, str, tuple, Divergence, KLCycle, KLWarmup, type(None))
    settings = [
        f"{name}={getattr(value, '__qualname__', value)!s}"
        for name, value in sorted(vars(loss).items())
        if not name.startswith("_") and (isinstance(value, plain) or name == "schedule")
    ]
    return f"{type(loss).__name__}({', '.join(settings)})"
