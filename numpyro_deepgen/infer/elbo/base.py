"""What the bounds share: checked settings, particles, and the host's entry points."""

from abc import abstractmethod
from collections.abc import Callable

from jax import Array
from numpyro.infer.elbo import ELBO

from ..._numerics.checks import check_positive_int
from .divergence import Divergence
from .particles import Program
from .schedules import KLCycle, KLWarmup

__all__ = ["ParticleELBO", "describe", "schedule_of"]


class ParticleELBO(ELBO):
    """A bound of the host that is a function of the terms of several particles.

    Particles run together. Mutable state is that after the run of the first particle.

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

    @abstractmethod
    def bound(self, program: Program) -> Array:
        """The bound, whose gradient is the estimator's."""

    def loss_with_mutable_state(
        self,
        rng_key: Array,
        param_map: dict,
        model: Callable,
        guide: Callable,
        *args,
        **kwargs,
    ) -> dict:
        """Return an estimate of the negative bound, and the mutable state or None."""
        program = self._program(rng_key, param_map, model, guide, args, kwargs)
        loss = -self.bound(program)
        return {"loss": loss, "mutable_state": program.mutable_state or None}

    def _program(
        self,
        rng_key: Array,
        params: dict,
        model: Callable,
        guide: Callable,
        args: tuple,
        kwargs: dict,
    ) -> Program:
        chunk = min(self.chunk or self.num_particles, self.num_particles)
        return Program(rng_key, params, model, guide, args, kwargs, self.num_particles, chunk)


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
