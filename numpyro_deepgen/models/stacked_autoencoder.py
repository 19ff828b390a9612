"""Auto-encoders with several layers of latent variables, inferred from the data upwards."""

from collections.abc import Callable, Sequence

import jax
import numpyro
from jax import Array
from numpyro.distributions import Distribution

from .base import ModelGuidePair, call_with_context, data_plate, mean_of, needed

__all__ = ["StackedAutoencoder"]


class StackedAutoencoder(ModelGuidePair):
    r"""``L`` layers of latent variables for each datum.

    .. math::
        p(x, z) = p(z_L) \prod_{l=1}^{L-1} p(z_l \mid z_{l+1})\; p(x \mid z_1), \qquad
        q(z \mid x) = q(z_1 \mid x) \prod_{l=1}^{L-1} q(z_{l+1} \mid z_l)

    The latent sites are ``z1``, the lowest, to ``zL``. The guide draws them in the other order than
    the model, so that the divergences of single layers are no part of a bound: train it with
    ``Trace_ELBO`` or ``IWELBO``.

    Args:
        encoders: modules that map the layer below, first the data, and the context if there is one,
            to a distribution.
        decoders: as many modules that map the layer above to a distribution, the first one to that
            of the data.
        prior: module whose call gives the distribution of the highest layer, as of
            :class:`VariationalAutoencoder`.
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if there are not as many encoders as decoders.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro
        >>> from numpyro.infer import SVI
        >>> from numpyro_deepgen.infer import IWELBO
        >>> from numpyro_deepgen.models import stacked_vae
        >>> key = jax.random.key(0)
        >>> pair = stacked_vae(key, (8, 8), latent_dims=(6, 2), hidden_dims=((16,), (8,)))
        >>> svi = SVI(pair.model, pair.guide, numpyro.optim.Adam(1e-3), IWELBO(5))
        >>> state = svi.run(key, 2, jnp.zeros((5, 8, 8)), size=1000, progress_bar=False)
        >>> pair.sample(key, 3).shape, pair.encode(jnp.zeros((5, 8, 8))).shape
        ((3, 8, 8), (5, 6))

    References:
        Burda, Grosse & Salakhutdinov 2016, Importance weighted autoencoders, section 5; Rezende,
        Mohamed & Wierstra 2014, Stochastic backpropagation, section 3.
    """

    encoders: tuple[Callable, ...]
    decoders: tuple[Callable, ...]
    latent_prior: Callable

    def __init__(
        self,
        encoders: Sequence[Callable],
        decoders: Sequence[Callable],
        prior: Callable,
        name: str | None = None,
    ):
        if len(encoders) != len(decoders) or not encoders:
            raise ValueError(
                "encoders and decoders must be as many, one or more, got "
                f"{len(encoders)} and {len(decoders)}; pass one of each for every layer."
            )
        super().__init__(name)
        self.encoders, self.decoders = tuple(encoders), tuple(decoders)
        self.latent_prior = prior

    @property
    def model_parts(self) -> tuple[str, ...]:
        """Names of the networks that the model uses."""
        return ("decoders", "latent_prior")

    @property
    def guide_parts(self) -> tuple[str, ...]:
        """Names of the networks that the guide uses."""
        return ("encoders",)

    def prior(self, context: Array | None = None) -> Distribution:
        """The prior of the highest layer."""
        takes_context = getattr(self.latent_prior, "context_dim", 1)
        return self.latent_prior(context) if takes_context else self.latent_prior()

    def posterior(self, x: Array, context: Array | None = None) -> Distribution:
        """The posterior of the lowest layer."""
        return call_with_context(self.encoders[0], x, context)

    def likelihood(self, z: Array, context: Array | None = None) -> Distribution:
        """The distribution of the data given the lowest layer."""
        return call_with_context(self.decoders[0], z, context)

    def model(
        self, x: Array | None = None, context: Array | None = None, *, size: int | None = None
    ) -> Array:
        pair = self.bind(*self.model_parts)
        with data_plate(x, context, size):
            z = numpyro.sample(f"z{len(self.decoders)}", pair.prior(context))
            for level in range(len(self.decoders) - 1, 0, -1):
                below = call_with_context(pair.decoders[level], z, context)
                z = numpyro.sample(f"z{level}", below)
            return numpyro.sample("x", pair.likelihood(z, context), obs=x)

    def guide(self, x: Array, context: Array | None = None, *, size: int | None = None) -> Array:
        pair = self.bind(*self.guide_parts)
        with data_plate(x, context, size):
            z = x
            for level, encoder in enumerate(pair.encoders, 1):
                z = numpyro.sample(f"z{level}", call_with_context(encoder, z, context))
            return z

    def decode_prior(
        self,
        z: Array,
        context: Array | None = None,
        *,
        mean: bool = True,
        rng_key: Array | None = None,
    ) -> Array:
        """Return data given the highest layer, by means, or draws, of the layers between."""
        for decoder in reversed(self.decoders[1:]):
            below = call_with_context(decoder, z, context)
            if mean:
                z = mean_of(below)
            else:
                rng_key, key = jax.random.split(needed(rng_key))
                z = below.sample(key)
        return self.decode(z, context, mean=mean, rng_key=rng_key)
