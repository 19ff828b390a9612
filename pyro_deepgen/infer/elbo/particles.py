"""Runs of a model and a guide on many particles, together where that is right, else in turn."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pyro
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .settings import not_reparameterized
from .sites import Plate, Site, TracePair, WeightPlan
from .traces import SharedMinibatch, particle_plate, scored_pair, scored_pair_at_draws

__all__ = [
    "Program",
    "check_reparameterized",
    "log_densities_of",
    "log_weights_of",
    "per_element",
]


def per_element(log_prob: Tensor, plates: tuple[Plate, ...], particles: int | None) -> Tensor:
    """A site's log density summed over all dimensions but those of the plates and particles.

    Args:
        log_prob: log density of the site.
        plates: plates whose dimensions stay.
        particles: dimension of the particles, or None.

    Returns:
        Log densities of shape ``(K,) + plate sizes``, without ``K`` if ``particles`` is None.
    """
    sizes = {plate.dim: plate.subsample_size for plate in plates}
    keep = [*([] if particles is None else [particles]), *sizes]
    depth = max((-dim for dim in keep), default=0)
    if log_prob.dim() < depth:
        log_prob = log_prob.reshape((1,) * (depth - log_prob.dim()) + log_prob.shape)
    rest = [dim for dim in range(-log_prob.dim(), 0) if dim not in keep]
    return log_prob.sum(rest) if rest else log_prob


@dataclass
class Program:
    """A model, a guide and their arguments, run on particles that share their minibatches.

    Attributes:
        model: model of the host.
        guide: guide of the host.
        args: their positional arguments.
        kwargs: their keyword arguments.
        num_particles: number of particles.
        chunk: number of particles whose computations are held at a time; more are computed again
            for the gradient.
        nesting: depth of the plates if particles may run in a plate around them, else None.
    """

    model: Callable
    guide: Callable
    args: tuple
    kwargs: dict
    num_particles: int
    chunk: int
    nesting: int | None
    minibatch: SharedMinibatch = field(default_factory=SharedMinibatch)

    def particles(self, terms: Callable, detach: bool = False) -> dict[str, Tensor]:
        """Terms of all particles.

        Args:
            terms: function of a :class:`TracePair` and the dimension of the particles (or None)
                that gives tensors by name.
            detach: whether gradients stop at the draws.

        Returns:
            Tensors by name with a leading dimension of particles.
        """

        return self._chunks(self._compute(terms, detach))

    def stream(self, terms: Callable) -> Iterator[dict[str, Tensor]]:
        """Terms as of :meth:`particles`, chunk by chunk."""
        compute = self._compute(terms, False)
        for start in range(0, self.num_particles, self.chunk):
            yield compute(start, min(self.chunk, self.num_particles - start))

    def _compute(self, terms: Callable, detach: bool) -> Callable:
        def run(model: Callable, guide: Callable, particles: int | None, part: slice):
            pair = scored_pair(model, guide, self.args, self.kwargs, detach)
            return terms(pair, particles)

        return partial(self._chunk, run)

    def particles_at_draws(self, terms: Callable, at: Callable) -> dict[str, Tensor]:
        """Terms of all particles scored with fixed parameters of the guide.

        Args:
            terms: as of :meth:`particles`.
            at: function of a draw, its site, the dimension of the particles (or None) and the
                particles' slice that gives the value to score.

        Returns:
            Tensors by name with a leading dimension of particles.
        """

        def run(model: Callable, guide: Callable, particles: int | None, part: slice):
            def place(value: Tensor, node: dict) -> Tensor:
                return at(value, node, particles, part)

            pair = scored_pair_at_draws(model, guide, self.args, self.kwargs, place)
            return terms(pair, particles)

        return self._chunks(partial(self._chunk, run))

    def _chunks(self, compute: Callable) -> dict[str, Tensor]:
        """Compute chunk by chunk, each again for the gradient if there is more than one."""
        parts = []
        for start in range(0, self.num_particles, self.chunk):
            count = min(self.chunk, self.num_particles - start)
            if self.chunk >= self.num_particles or not torch.is_grad_enabled():
                parts.append(compute(start, count))
            else:
                again = partial(_without_markers, compute, start, count)
                parts.append(checkpoint(again, *self._markers(), use_reentrant=False))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _markers(self) -> list[Tensor]:
        """A tensor on each device in use: where the random state is kept for computing again."""
        found = [*self.args, *self.kwargs.values(), torch.empty(0)]
        found += [value for _, value in pyro.get_param_store().named_parameters()]
        for function in (self.model, self.guide):
            found += function.parameters() if isinstance(function, torch.nn.Module) else []
        devices = {value.device for value in found if isinstance(value, Tensor)}
        return [torch.empty(0, device=device) for device in devices]

    def _chunk(self, run: Callable, start: int, count: int) -> dict[str, Tensor]:
        """Particles from ``start`` on, in one plate or one by one."""
        with self.minibatch:
            if self.nesting is not None and count > 1:
                model = particle_plate(count, self.nesting)(self.model)
                guide = particle_plate(count, self.nesting)(self.guide)
                return run(model, guide, -1 - self.nesting, slice(start, start + count))
            found = [
                run(self.model, self.guide, None, slice(i, i + 1))
                for i in range(start, start + count)
            ]
        return {name: torch.stack([terms[name] for terms in found]) for name in found[0]}


def _without_markers(compute: Callable, start: int, count: int, *markers: Tensor) -> dict:
    return compute(start, count)


def log_densities_of(
    pair: TracePair, plan: WeightPlan | None, particles: int | None
) -> tuple[Tensor, Tensor | float]:
    """Log densities of model and guide, one for each entry of the plates of the plan.

    Without a plan they are joint, every site with its scale.
    """

    def total(sites: Iterable[Site]) -> Tensor | float:
        if plan is None:
            return sum(s.scale * per_element(s.log_prob, (), particles) for s in sites)
        return sum(per_element(s.log_prob, plan.plates, particles) for s in sites)

    return total(pair.model.values()), total(pair.guide.values())


def log_weights_of(pair: TracePair, plan: WeightPlan | None, particles: int | None) -> Tensor:
    """Log weights of the particles, the differences of :func:`log_densities_of`."""
    model, guide = log_densities_of(pair, plan, particles)
    return model - guide


def check_reparameterized(pair: TracePair, bound: str) -> None:
    """Raise if a gradient is asked for and the guide draws a site that has none."""
    for site in pair.guide.values():
        if torch.is_grad_enabled() and not (site.observed or site.fn.has_rsample):
            raise not_reparameterized(site.name, bound)
