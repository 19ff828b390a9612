"""Pairs whose latent variables are codes: codes, their use, and the bound."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jax import Array, random
from numpyro.distributions import Distribution
from numpyro.primitives import mutable as numpyro_mutable

from ..distributions.vector_quantized import nearest_codes, vectors_in_rows
from ..infer.top_down import TopDown
from ..nn import Codebook
from .top_down_pair import TopDownPair

__all__ = ["CodePair"]


class CodePair(TopDownPair):
    """Base class: a point mass at the nearest vectors of a codebook, for each level.

    The generator has ``codebooks``, one for each of its ``sites``; what is quantised is the
    ``inputs`` of a posterior.
    """

    def codes(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """Integer codes of data by site, of an image of shape ``(B, height, width)``."""
        codebooks = zip(self.generator.sites, self.generator.codebooks, strict=True)
        found = self.encode(x, context)
        dim = self.generator.event_dim
        return {name: nearest_codes(found[name], book.weight, dim) for name, book in codebooks}

    def usage(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """How often each code is used by data, counts of shape ``(num_codes,)`` by site."""
        sizes = [len(book.weight) for book in self.generator.codebooks]
        counts = zip(self.codes(x, context).items(), sizes, strict=True)
        return {
            name: jnp.bincount(codes.reshape(-1), length=size) for (name, codes), size in counts
        }

    def perplexity(self, x: Array, context: Array | None = None) -> dict[str, float]:
        r"""Effective number of codes that data use, by site.

        .. math:: \exp\Big(-\sum_k \hat p_k \log \hat p_k\Big)

        Pass all data, or a large part of them: that of a minibatch is too low.
        """
        found = {}
        for name, count in self.usage(x, context).items():
            share = count / count.sum()
            logs = jnp.log(jnp.maximum(share, 1e-12))
            found[name] = float(jnp.exp(-(share * logs).sum()))
        return found

    def bound(self, x: Array, context: Array | None = None) -> Array:
        """The evidence lower bound of each datum, in nats: reconstruction and codes, exactly."""
        codes, total = self.encode(x, context), 0.0

        def choose(name: str, prior: Distribution, state) -> Array:
            nonlocal total
            total = total + prior.log_prob(codes[name])
            return codes[name]

        features = self.generator(choose, x.shape[:1], context)
        return total + self.decoder(features).log_prob(x)

    def restart_dead_codes(
        self, rng_key: Array, x: Array, min_usage: int = 1, context: Array | None = None
    ) -> "CodePair":
        """Move codes that data hardly use to vectors of random places of data.

        Args:
            rng_key: random key.
            x: all data, or a large part of them.
            min_usage: codes used less often are moved.
            context: shape ``(B, context_dim)``, or None.

        Returns:
            The pair with the new codebooks; the old one is left as it is.
        """
        inputs, usage, books = self._inputs(x, context), self.usage(x, context), []
        for name, book in zip(self.generator.sites, self.generator.codebooks, strict=True):
            rows = vectors_in_rows(inputs[name], self.generator.event_dim)
            rng_key, key = random.split(rng_key)
            picks = random.randint(key, (len(book.weight),), 0, len(rows))
            books.append(book.move(usage[name] < min_usage, rows[picks]))
        return self._with_codebooks(tuple(books))

    def bind(self, *parts: str) -> "CodePair":
        """Register the networks, and take the codebooks from where their averages are kept."""
        pair = super().bind(*parts)
        if "generator" not in parts or not self._is_moving:
            return pair
        return pair._with_codebooks(self._averages()["codebooks"])

    def with_params(self, params: dict) -> "CodePair":
        """Return the pair with trained arrays, moving averages among them."""
        pair, name = super().with_params(params), f"{self.name}.codebooks$state"
        return pair._with_codebooks(params[name]["codebooks"]) if name in params else pair

    @property
    def _is_moving(self) -> bool:
        return self.generator.codebooks[0].decay is not None

    def _averages(self) -> dict:
        """The host's state of the moving averages."""
        start = {"codebooks": self.generator.codebooks}
        return numpyro_mutable(f"{self.name}.codebooks$state", start)

    def _with_codebooks(self, codebooks: tuple[Codebook, ...]) -> "CodePair":
        return eqx.tree_at(lambda pair: pair.generator.codebooks, self, codebooks)

    @property
    def guide(self) -> TopDown:
        """The guide, a handler over the model, with the same arguments."""
        if not self._is_moving:
            return super().guide
        # the averages of a run of the guide, which its generator is to see
        run: dict = {}
        return TopDown(partial(self._model_of, run), partial(self._observing, run))

    def _model_of(
        self,
        run: dict,
        x: Array | None = None,
        context: Array | None = None,
        *,
        size: int | None = None,
    ) -> Array:
        pair = super().bind(*self.model_parts)
        return pair._with_codebooks(run["averages"]["codebooks"])._generate(x, context, size)

    def _observing(self, run: dict, *args, **kwargs) -> Callable:
        """The posteriors, which move the averages."""
        find, averages = self._posteriors(*args, **kwargs), self._averages()
        averages["codebooks"] = tuple(book.refresh() for book in averages["codebooks"])
        run["averages"] = averages

        def observed(name: str, prior: Distribution, state) -> Distribution:
            q = find(name, prior, state)
            books = dict(zip(self.generator.sites, averages["codebooks"], strict=True))
            rows = vectors_in_rows(q.inputs, q.event_dim)
            books[name] = books[name].observe(rows, q.codes.reshape(-1))
            averages["codebooks"] = tuple(books.values())
            return q

        return observed

    def _inputs(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """The vectors that are quantised, by site."""
        posterior, found = self._at_means(x, context), {}

        def choose(*site) -> Array:
            q = posterior(*site)
            found[site[0]] = q.inputs
            return q.mean

        self.generator(choose, x.shape[:1], context)
        return found
