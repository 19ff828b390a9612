"""The variational auto-encoder."""

from collections.abc import Callable

import numpyro
from jax import Array
from numpyro.distributions import Distribution

from ..distributions.vamp_prior import VampPrior
from .base import ModelGuidePair, call_with_context, data_plate

__all__ = ["VariationalAutoencoder"]


class VariationalAutoencoder(ModelGuidePair):
    r"""A latent variable for each datum, and the posterior that a network gives of it.

    .. math::
        p(x, z \mid c) = p(z \mid c)\, p(x \mid z, c), \qquad q(z \mid x, c)

    The latent site is ``z``, the observed one ``x``, both in the plate ``data``.

    Args:
        encoder: module that maps data, and the context if there is one, to a distribution: a
            :class:`~numpyro_deepgen.distributions.ConditionalDistribution`, or an
            :class:`~numpyro_deepgen.distributions.AmortizedFlow`.
        decoder: module that maps ``z``, and the context if there is one, to a distribution.
        prior: module whose call gives a distribution: ``StandardNormal``, ``MixtureOfNormals``, a
            :class:`~numpyro_deepgen.distributions.VampPrior`, a flow, or any other. It is given the
            context, unless its ``context_dim`` is 0.
        name: prefix of the names of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro
        >>> from numpyro.infer import SVI, Trace_ELBO
        >>> from numpyro_deepgen.models import vae
        >>> key = jax.random.key(0)
        >>> pair = vae(key, (8, 8), latent_dim=2, hidden_dims=(16,))
        >>> svi = SVI(pair.model, pair.guide, numpyro.optim.Adam(1e-3), Trace_ELBO())
        >>> state = svi.run(key, 2, jnp.zeros((5, 8, 8)), size=1000, progress_bar=False)
        >>> pair = pair.with_params(state.params)
        >>> pair.sample(key, 3).shape, pair.manifold(4).shape
        ((3, 8, 8), (4, 4, 8, 8))

    References:
        Kingma & Welling 2014, Auto-encoding variational Bayes; Rezende, Mohamed & Wierstra 2014,
        Stochastic backpropagation; Sohn, Lee & Yan 2015, Learning structured output representation
        using deep conditional generative models (with a context).
    """

    encoder: Callable
    decoder: Callable
    latent_prior: Callable

    def __init__(
        self, encoder: Callable, decoder: Callable, prior: Callable, name: str | None = None
    ):
        super().__init__(name)
        self.encoder, self.decoder, self.latent_prior = encoder, decoder, prior

    @property
    def model_parts(self) -> tuple[str, ...]:
        """Names of the networks that the model uses: the encoder too if its prior does."""
        shared = ("encoder",) if isinstance(self.latent_prior, VampPrior) else ()
        return ("decoder", "latent_prior", *shared)

    @property
    def guide_parts(self) -> tuple[str, ...]:
        """Names of the networks that the guide uses."""
        return ("encoder",)

    def prior(self, context: Array | None = None) -> Distribution:
        if isinstance(self.latent_prior, VampPrior):
            return self.latent_prior(self.encoder, context)
        takes_context = getattr(self.latent_prior, "context_dim", 1)
        return self.latent_prior(context) if takes_context else self.latent_prior()

    def posterior(self, x: Array, context: Array | None = None) -> Distribution:
        return call_with_context(self.encoder, x, context)

    def likelihood(self, z: Array, context: Array | None = None) -> Distribution:
        return call_with_context(self.decoder, z, context)

    def model(
        self, x: Array | None = None, context: Array | None = None, *, size: int | None = None
    ) -> Array:
        pair = self.bind(*self.model_parts)
        with data_plate(x, context, size):
            z = numpyro.sample("z", pair.prior(context))
            return numpyro.sample("x", pair.likelihood(z, context), obs=x)

    def guide(self, x: Array, context: Array | None = None, *, size: int | None = None) -> Array:
        pair = self.bind(*self.guide_parts)
        with data_plate(x, context, size):
            return numpyro.sample("z", pair.posterior(x, context))
