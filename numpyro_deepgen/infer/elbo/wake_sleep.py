"""Wake-sleep and its reweighted form."""

from collections.abc import Mapping

from jax import Array, lax, random
from numpyro import handlers
from numpyro.primitives import Messenger

from .base import ParticleELBO
from .particles import Program, log_densities_of
from .settings import check_share, check_simulated, replace_arguments
from .sites import TracePair, WeightPlan, plan_weights
from .traces import run_with_params, scored_guide
from .weights import normalized_weights, renyi_bound

__all__ = ["ReweightedWakeSleep"]

DREAM_STREAM = 0x64726561


class ReweightedWakeSleep(ParticleELBO):
    r"""Reweighted wake-sleep, its weights normalised for each datum.

    The model climbs the importance-weighted bound; the guide, which need not be reparameterised,
    descends the forward divergence from the posterior to it:

    .. math::
        \nabla_\theta = \sum_{nk} \tilde w_{nk} \nabla_\theta \log p(x_n, z_{nk}), \qquad
        \nabla_\phi = \iota \sum_{nk} \tilde w_{nk} \nabla_\phi \log q(z_{nk} \mid x_n)
            + (1 - \iota) \sum_n \nabla_\phi \log q(z'_n \mid x'_n)

    with :math:`z_{nk} \sim q`, the model's own dreams :math:`(z', x') \sim p`, and the share
    :math:`\iota` of insomnia. The value is the importance-weighted bound. With ``insomnia=0`` and
    one particle it is wake-sleep; with a model without parameters it fits the guide by forward
    divergence.

    Args:
        num_particles: number of draws for each datum, at least 2 where ``insomnia`` is positive.
        chunk: number of particles whose computations are held in memory, None for all.
        insomnia: share of the wake phase in the guide's gradient, from 0 to 1.
        simulated: for the sleep phase, the position or keyword of the guide's argument by the
            name of the observed site that dreams take its place. Minibatches must then be
            arguments, not subsamples that the plate draws.
        joint: whether there is one weight for all data; see :class:`RenyiELBO`.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. In use: as :class:`RenyiELBO`.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro.infer import SVI
        >>> def model(x):
        ...     with numpyro.plate("data", len(x)):
        ...         on = numpyro.sample("on", dist.Bernoulli(0.5))
        ...         numpyro.sample("x", dist.Normal(2.0 * on, 1.0), obs=x)
        >>> def guide(x):
        ...     slope = numpyro.param("slope", 0.0)
        ...     with numpyro.plate("data", len(x)):
        ...         numpyro.sample("on", dist.Bernoulli(logits=slope * (x - 1.0)))
        >>> x = jnp.linspace(-2.0, 4.0, 50)
        >>> elbo = ReweightedWakeSleep(8, insomnia=0.5, simulated={"x": 0})
        >>> svi = SVI(model, guide, numpyro.optim.Adam(0.05), elbo)
        >>> result = svi.run(random.key(0), 200, x, progress_bar=False)
        >>> bool(abs(result.params["slope"] - 2.0) < 0.5)  # the posterior's
        True

    References:
        Bornschein & Bengio (2015), Reweighted wake-sleep, eq. 6-9; Le et al. (2020), Revisiting
        reweighted wake-sleep, eq. 8 and 9; Hinton et al. (1995), The wake-sleep algorithm.
    """

    can_infer_discrete = True

    def __init__(
        self,
        num_particles: int = 2,
        chunk: int | None = None,
        insomnia: float = 1.0,
        simulated: dict | None = None,
        joint: bool = False,
    ):
        super().__init__(num_particles, chunk)
        self.insomnia = check_share(insomnia, num_particles)
        self.simulated = check_simulated(simulated, self.insomnia)
        self.joint = joint

    def bound(self, program: Program) -> Array:
        """The importance-weighted bound, whose gradient is that of wake-sleep."""
        plans: list[WeightPlan | None] = []

        def terms(pair: TracePair) -> dict[str, Array]:
            plans.append(self._plan(pair))
            model, guide = log_densities_of(pair, plans[-1])
            return {"model": model, "guide": guide}

        found = program.particles(terms, detach=True)
        scale = 1.0 if plans[-1] is None else plans[-1].scale
        log_weights = lax.stop_gradient(found["model"] - found["guide"])
        value = scale * renyi_bound(log_weights, 0.0).sum()
        wake = found["model"] + self.insomnia * found["guide"]
        total = scale * (normalized_weights(log_weights, 0.0) * wake).sum()
        if self.insomnia < 1.0:
            total = total + (1.0 - self.insomnia) * self._dream(program)
        return value + total - lax.stop_gradient(total)

    def _plan(self, pair: TracePair) -> WeightPlan | None:
        return None if self.num_particles == 1 else plan_weights(pair, self.joint)

    def _dream(self, program: Program) -> Array:
        """Log density of the guide at a draw of the model, given its dreamt observations."""
        key, guide_key = random.split(random.fold_in(program.rng_key, DREAM_STREAM))
        dreaming = handlers.seed(_Dream(program.model, self.simulated), key)
        dream = run_with_params(dreaming, program.args, program.kwargs, program.params)
        values = {
            name: lax.stop_gradient(site["value"])
            for name, site in dream.items()
            if site["type"] == "sample"
        }
        args, kwargs = replace_arguments(program.args, program.kwargs, self.simulated, values)
        sites = scored_guide(guide_key, program.guide, args, kwargs, program.params, values)
        return sum((site.scale * site.log_prob).sum() for site in sites.values())


class _Dream(Messenger):
    """Draws what was observed."""

    def __init__(self, fn, names: Mapping[str, int | str]):
        super().__init__(fn)
        self.names = names

    def process_message(self, msg) -> None:
        if msg["type"] == "sample" and msg["name"] in self.names:
            msg["is_observed"], msg["value"] = False, None
