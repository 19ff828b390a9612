"""Runs of a model and a guide on many particles, together or in chunks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import jax
from jax import Array, lax, random

from .settings import not_reparameterized
from .sites import Plate, Site, TracePair, WeightPlan
from .traces import scored_pair, scored_pair_at_draws, share_minibatch

__all__ = [
    "Program",
    "check_reparameterized",
    "log_densities_of",
    "log_weights_of",
    "per_element",
]


def per_element(log_prob: Array, plates: tuple[Plate, ...]) -> Array:
    """A site's log density summed over all dimensions but those of the plates.

    Args:
        log_prob: log density of the site.
        plates: plates whose dimensions stay.

    Returns:
        Log densities of shape ``plate sizes``.
    """
    keep = [plate.dim for plate in plates]
    depth = max((-dim for dim in keep), default=0)
    if log_prob.ndim < depth:
        log_prob = log_prob.reshape((1,) * (depth - log_prob.ndim) + log_prob.shape)
    rest = tuple(dim for dim in range(-log_prob.ndim, 0) if dim not in keep)
    return log_prob.sum(rest)


def log_densities_of(pair: TracePair, plan: WeightPlan | None) -> tuple[Array, Array | float]:
    """Log densities of model and guide, one for each entry of the plates of the plan.

    Without a plan they are joint, every site with its scale.
    """

    def total(sites: Iterable[Site]) -> Array | float:
        if plan is None:
            return sum((site.scale * site.log_prob).sum() for site in sites)
        return sum(per_element(site.log_prob, plan.plates) for site in sites)

    return total(pair.model.values()), total(pair.guide.values())


def log_weights_of(pair: TracePair, plan: WeightPlan | None) -> Array:
    """Log weights, the differences of :func:`log_densities_of`."""
    model, guide = log_densities_of(pair, plan)
    return model - guide


def check_reparameterized(pair: TracePair, bound: str) -> None:
    """Raise if the guide draws a site that has no gradient."""
    for site in pair.guide.values():
        if not (site.observed or site.fn.has_rsample):
            raise not_reparameterized(site.name, bound)


@dataclass
class Program:
    """A model, a guide and their arguments, run on particles that share their minibatches.

    Attributes:
        rng_key: key of the particles and of the minibatches.
        params: constrained parameters, and mutable state, by name.
        model: model of the host.
        guide: guide of the host.
        args: their positional arguments.
        kwargs: their keyword arguments.
        num_particles: number of particles.
        chunk: number of particles whose computations are held at a time; more are computed again
            for the gradient.
        mutable_state: mutable state after the run of the first particle, by name.
    """

    rng_key: Array
    params: dict
    model: Callable
    guide: Callable
    args: tuple
    kwargs: dict
    num_particles: int
    chunk: int
    mutable_state: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.num_particles > 1:
            self.model, self.guide = share_minibatch(self.rng_key, self.model, self.guide)

    def particles(self, terms: Callable, detach: bool = False) -> dict[str, Array]:
        """Terms of all particles.

        Args:
            terms: function of a :class:`TracePair` that gives arrays by name.
            detach: whether gradients stop at the draws.

        Returns:
            Arrays by name with a leading dimension of particles.
        """

        def run(rng_key: Array) -> tuple[dict, dict]:
            pair, mutable = scored_pair(
                rng_key, self.model, self.guide, self.args, self.kwargs, self.params, detach
            )
            return terms(pair), mutable

        return self._map(run, self._keys())

    def particles_at_draws(self, terms: Callable, at: Callable, inputs: Array) -> dict[str, Array]:
        """Terms of all particles scored with fixed parameters of the guide.

        Args:
            terms: as of :meth:`particles`.
            at: function of a draw, its site and the particle's input that gives the value to
                score.
            inputs: array with a leading dimension of particles.

        Returns:
            Arrays by name with a leading dimension of particles.
        """

        def run(pack: tuple[Array, Array]) -> tuple[dict, dict]:
            rng_key, own = pack

            def place(value: Array, site: dict) -> Array:
                return at(value, site, own)

            pair, mutable = scored_pair_at_draws(
                rng_key, self.model, self.guide, self.args, self.kwargs, self.params, place
            )
            return terms(pair), mutable

        return self._map(run, (self._keys(), inputs))

    def _keys(self) -> Array:
        # as the host's bounds split their key
        if self.num_particles == 1:
            return self.rng_key[None]
        return random.split(self.rng_key, self.num_particles)

    def _map(self, run: Callable, inputs) -> dict[str, Array]:
        """Compute all particles, chunk by chunk if they are more, each again for the gradient."""
        if self.num_particles == 1:
            found = run(jax.tree.map(lambda leaf: leaf[0], inputs))
            terms, mutable = jax.tree.map(lambda leaf: leaf[None], found)
        elif self.chunk >= self.num_particles:
            terms, mutable = jax.vmap(run)(inputs)
        else:
            terms, mutable = lax.map(jax.checkpoint(run), inputs, batch_size=self.chunk)
        self.mutable_state = jax.tree.map(lambda leaf: leaf[0], mutable)
        return terms
