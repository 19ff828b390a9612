r"""Pairs whose guide is a handler over the generator.

.. math::
    p(x, z) = p(x \mid z) \prod_l p(z_l \mid z_{>l}), \qquad
    q(z \mid x) = \prod_l q(z_l \mid z_{>l}, x)

The generator is one program for prior, posterior and reconstruction: it asks for the value of each
variable, given its prior, and goes on from there.
"""

from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro.distributions import Distribution

from .._numerics.checks import check_choice, check_positive_int
from ..infer.top_down import AtValue, TopDown
from .base import ModelGuidePair, data_plate, mean_of, needed, snake_case
from .paths import interpolated

__all__ = ["TopDownPair"]


class _FoundError(Exception):
    """Carries the distribution that was looked for."""


class TopDownPair(ModelGuidePair):
    r"""A pair of a generator, a likelihood, and a recognition network.

    Codes of data, as :meth:`encode` gives them, are dictionaries by the name of the site.

    Args:
        generator: module called with a function ``choose(name, prior, state)`` that returns the
            value of a latent site, with the batch shape and the context; it returns the features
            of the data. The state is what the posterior of the site may depend on. Its ``sites``
            are their names, the highest first, and ``event_dim`` the dimensions of each.
        decoder: module that maps the features to the distribution of the data.
        recognition: module called with data, context and a function ``draw(name, distribution)``
            for sites that are drawn from the bottom up; it returns a function of a site's name,
            prior and state that returns its posterior.
        name: prefix of the names of the parameters.
    """

    generator: Callable
    decoder: Callable
    recognition: Callable
    name: str = eqx.field(static=True)

    def __init__(
        self,
        generator: Callable,
        decoder: Callable,
        recognition: Callable,
        name: str | None = None,
    ):
        self.name = snake_case(type(self).__name__) if name is None else name
        self.generator, self.decoder, self.recognition = generator, decoder, recognition

    @property
    def model_parts(self) -> tuple[str, ...]:
        """Names of the networks that the model uses."""
        return ("generator", "decoder")

    @property
    def guide_parts(self) -> tuple[str, ...]:
        """Names of the networks that the guide uses."""
        return ("recognition",)

    def model(
        self, x: Array | None = None, context: Array | None = None, *, size: int | None = None
    ) -> Array:
        return self.bind(*self.model_parts)._generate(x, context, size)

    def _generate(self, x: Array | None, context: Array | None, size: int | None) -> Array:
        """The model of a bound pair."""
        rows = x if x is not None else context

        def choose(name: str, prior: Distribution, state) -> Array:
            return numpyro.sample(name, prior, infer={"state": state})

        with data_plate(x, context, size):
            batch_shape = (size if rows is None else len(rows),)
            features = self.generator(choose, batch_shape, context)
            return numpyro.sample("x", self.decoder(features), obs=x)

    @property
    def guide(self) -> TopDown:
        """The guide, a handler over the model, with the same arguments."""
        return TopDown(self.model, self._posteriors)

    def _posteriors(
        self, x: Array, context: Array | None = None, *, size: int | None = None
    ) -> Callable:
        pair, drawn = self.bind(*self.guide_parts), {}

        def draw(name: str, q: Distribution) -> Array:
            # its density counts where the generator asks for it
            value = numpyro.sample(f"{name}_draw", q.mask(False), infer={"is_auxiliary": True})
            drawn[name] = AtValue(q, value)
            return value

        posterior = pair.recognition(x, context, draw)

        def find(name: str, prior: Distribution, state) -> Distribution:
            return drawn[name] if name in drawn else posterior(name, prior, state)

        return find

    def prior(self, context: Array | None = None) -> Distribution:
        """The prior of the highest latent variable."""
        return self._highest((), context, lambda name, prior, state: prior)

    def posterior(self, x: Array, context: Array | None = None) -> Distribution:
        """The posterior of the highest latent variable, at means of what is drawn before."""
        return self._highest(x.shape[:1], context, self._at_means(x, context))

    def _highest(self, batch_shape: tuple, context: Array | None, choose: Callable):
        def first(name: str, prior: Distribution, state) -> Array:
            raise _FoundError(choose(name, prior, state))

        if context is not None:
            batch_shape = context.shape[:-1]
        try:
            self.generator(first, batch_shape, context)
        except _FoundError as found:
            return found.args[0]

    def _at_means(self, x: Array, context: Array | None) -> Callable:
        drawn = {}

        def draw(name: str, q: Distribution) -> Array:
            drawn[name] = q
            return mean_of(q)

        posterior = self.recognition(x, context, draw)
        return lambda name, *site: drawn[name] if name in drawn else posterior(name, *site)

    def encode(
        self, x: Array, context: Array | None = None, *, rng_key: Array | None = None
    ) -> dict[str, Array]:
        """Return the means of the posteriors by site, each given the means above it."""
        posterior, codes = self._at_means(x, context), {}

        def choose(*site) -> Array:
            codes[site[0]] = mean_of(posterior(*site))
            return codes[site[0]]

        self.generator(choose, x.shape[:1], context)
        return codes

    def likelihood(self, z: dict[str, Array], context: Array | None = None) -> Distribution:
        """The distribution of data given all latent variables by name."""
        return self._likelihood(z, context, mean_of)

    def _likelihood(self, z: dict, context: Array | None, default: Callable, shape=None):
        """The likelihood given some of the variables, the others from their priors."""
        if shape is None:
            shape = next(iter(z.values())).shape[: -self.generator.event_dim]

        def choose(name: str, prior: Distribution, state) -> Array:
            return z[name] if name in z else default(prior)

        return self.decoder(self.generator(choose, shape, context))

    def sample(
        self,
        rng_key: Array,
        num_samples: int,
        context: Array | None = None,
        *,
        mean: bool = False,
        temperature: float = 1.0,
    ) -> Array:
        """Draw data.

        Args:
            rng_key: random key.
            num_samples: number of data.
            context: shape ``(context_dim,)`` or ``(num_samples, context_dim)``, or None.
            mean: whether to return the means of the likelihood rather than draws.
            temperature: factor of the distance of the latent draws from the priors' means.

        Returns:
            Shape ``(num_samples,) + event_shape``.
        """
        num_samples = check_positive_int("num_samples", num_samples)
        if context is not None:
            context = jnp.broadcast_to(context, (num_samples, jnp.shape(context)[-1]))
        keys = _keys(rng_key)

        def draw(prior: Distribution) -> Array:
            if temperature == 1.0:
                return prior.sample(next(keys))
            middle = mean_of(prior)
            return middle + temperature * (prior.sample(next(keys)) - middle)

        likelihood = self._likelihood({}, context, draw, (num_samples,))
        return mean_of(likelihood) if mean else likelihood.sample(next(keys))

    def decode_prior(
        self,
        z: Array,
        context: Array | None = None,
        *,
        mean: bool = True,
        rng_key: Array | None = None,
    ) -> Array:
        """Return data given the highest latent variable, by means, or draws, of the others."""
        keys = None if mean else _keys(needed(rng_key))
        rest = mean_of if mean else lambda prior: prior.sample(next(keys))
        likelihood = self._likelihood({self.generator.sites[0]: z}, context, rest)
        return mean_of(likelihood) if mean else likelihood.sample(next(keys))

    def interpolate(
        self,
        x0: Array,
        x1: Array,
        num_steps: int = 10,
        kind: str = "spherical",
        context: Array | None = None,
        *,
        rng_key: Array | None = None,
    ) -> Array:
        """Return the likelihood's means between two batches, every latent variable on its way.

        Arguments and result as of :meth:`ModelGuidePair.interpolate`, ``batch_shape`` ``(B,)``.
        """
        num_steps = check_positive_int("num_steps", num_steps, minimum=2)
        check_choice("kind", kind, ("spherical", "linear"))
        starts, ends = self.encode(x0, context), self.encode(x1, context)
        codes = {
            name: interpolated(starts[name], ends[name], num_steps, kind, self.generator.event_dim)
            for name in starts
        }
        return self.decode(codes, context)


def _keys(rng_key: Array) -> Iterator[Array]:
    """Random keys without end."""
    while True:
        rng_key, key = jax.random.split(rng_key)
        yield key
