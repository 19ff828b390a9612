"""Posteriors that ascend the bound from where the encoder puts them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array, lax
from numpyro.distributions import Distribution

from .._numerics.checks import check_positive, check_positive_int
from ..infer.refinement import clipped
from .base import ModelGuidePair, data_plate
from .variational_autoencoder import VariationalAutoencoder

__all__ = ["SemiAmortized"]


class SemiAmortized(ModelGuidePair):
    r"""An auto-encoder whose guide takes gradient steps for each datum.

    .. math::
        \lambda_0 = f(x), \qquad v_t = \rho v_{t-1} + \nabla_\lambda L(\lambda_{t-1}; x, \epsilon),
        \qquad \lambda_t = \lambda_{t-1} + \eta\, v_t

    :math:`\lambda` are the features that the encoder makes of a datum: the parameters of its
    posterior, or the context of its flow. ``L`` is the evidence lower bound, by the same noise in
    all steps of one call. Training moves the encoder by the gradient at the last step, taken for
    that at the first, or, with ``second_order``, by the derivative through all steps, which moves
    the decoder too. A trained pair can be wrapped for evaluation only: its bounds are then tighter.

    Args:
        pair: the auto-encoder; its networks are shared.
        num_steps: number of steps.
        step_size: :math:`\eta`, positive.
        momentum: :math:`\rho`, at least 0 and below 1.
        clip_norm: largest norm of the gradient of one datum, or None.
        num_particles: number of draws in each estimate of ``L``.
        second_order: whether derivatives go through the steps.

    Raises:
        TypeError: if ``pair`` is no :class:`VariationalAutoencoder`.
        ValueError: if a setting is out of range.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro
        >>> from numpyro.infer import SVI, Trace_ELBO
        >>> from numpyro_deepgen.models import vae
        >>> key = jax.random.key(0)
        >>> pair = SemiAmortized(vae(key, (8, 8), latent_dim=2, hidden_dims=(16,)), num_steps=3)
        >>> svi = SVI(pair.model, pair.guide, numpyro.optim.Adam(1e-3), Trace_ELBO())
        >>> state = svi.run(key, 2, jnp.zeros((5, 8, 8)), size=1000, progress_bar=False)
        >>> pair.with_params(state.params).encode(jnp.zeros((5, 8, 8))).shape
        (5, 2)

    References:
        Kim, Wiseman, Miller, Sontag & Rush 2018, Semi-amortized variational autoencoders, alg. 1.
    """

    pair: VariationalAutoencoder
    num_steps: int = eqx.field(static=True)
    step_size: float = eqx.field(static=True)
    momentum: float = eqx.field(static=True)
    clip_norm: float | None = eqx.field(static=True)
    num_particles: int = eqx.field(static=True)
    second_order: bool = eqx.field(static=True)

    def __init__(
        self,
        pair: VariationalAutoencoder,
        num_steps: int = 20,
        step_size: float = 0.1,
        momentum: float = 0.5,
        clip_norm: float | None = 5.0,
        num_particles: int = 1,
        second_order: bool = False,
    ):
        if not isinstance(pair, VariationalAutoencoder):
            raise TypeError(
                f"pair must be a VariationalAutoencoder, got {type(pair).__name__}; call "
                "infer.refine on the trained model and guide of other pairs."
            )
        super().__init__(pair.name)
        self.pair = pair
        self.num_steps = check_positive_int("num_steps", num_steps)
        self.step_size = check_positive("step_size", step_size)
        self.momentum = momentum if momentum == 0 else check_positive("momentum", momentum, 1.0)
        self.clip_norm = None if clip_norm is None else check_positive("clip_norm", clip_norm)
        self.num_particles = check_positive_int("num_particles", num_particles)
        self.second_order = bool(second_order)

    @property
    def model_parts(self) -> tuple[str, ...]:
        """Names of the networks that the model uses."""
        return self.pair.model_parts

    @property
    def guide_parts(self) -> tuple[str, ...]:
        """Names of the networks that the guide uses."""
        return (*self.pair.guide_parts, *self.pair.model_parts)

    def with_params(self, params: dict) -> "SemiAmortized":
        return self._of(self.pair.with_params(params))

    def _of(self, pair: VariationalAutoencoder) -> "SemiAmortized":
        return eqx.tree_at(lambda semi: semi.pair, self, pair)

    def bind(self, *parts: str) -> "SemiAmortized":
        return self._of(self.pair.bind(*parts))

    def prior(self, context: Array | None = None) -> Distribution:
        return self.pair.prior(context)

    def likelihood(self, z: Array, context: Array | None = None) -> Distribution:
        return self.pair.likelihood(z, context)

    def posterior(
        self, x: Array, context: Array | None = None, *, rng_key: Array | None = None
    ) -> Distribution:
        """The posterior after the steps, by noise from ``rng_key``, default that of seed 0."""
        rng_key = jax.random.key(0) if rng_key is None else rng_key
        return self.pair.encoder.distribution(self._refined(rng_key, x, context))

    def model(
        self, x: Array | None = None, context: Array | None = None, *, size: int | None = None
    ) -> Array:
        return self.pair.model(x, context, size=size)

    def guide(self, x: Array, context: Array | None = None, *, size: int | None = None) -> Array:
        pair = self.bind(*dict.fromkeys(self.guide_parts))
        with data_plate(x, context, size):
            posterior = pair.posterior(x, context, rng_key=numpyro.prng_key())
            return numpyro.sample("z", posterior)

    def _refined(self, rng_key: Array, x: Array, context: Array | None) -> Array:
        """The features after the steps."""
        first = self.pair.encoder.features(x, context)
        pair, start = (self.pair, first) if self.second_order else _constant((self.pair, first))
        prior = pair.prior(context)

        def bound(features: Array) -> Array:
            posterior = pair.encoder.distribution(features)
            z = posterior.rsample(rng_key, (self.num_particles,))
            log_joint = prior.log_prob(z) + pair.likelihood(z, context).log_prob(x)
            return (log_joint - posterior.log_prob(z)).mean(0).sum()

        def step(carry, _):
            current, velocity = carry
            gradient = clipped(jax.grad(bound)(current), self.clip_norm, (-1,))
            velocity = self.momentum * velocity + gradient
            return (current + self.step_size * velocity, velocity), None

        carry = (start, jnp.zeros_like(start))
        (last, _), _ = lax.scan(step, carry, None, length=self.num_steps)
        return last if self.second_order else first + lax.stop_gradient(last - start)


def _constant(tree):
    """The arrays of a tree as constants of differentiation."""
    return jax.tree.map(lambda a: lax.stop_gradient(a) if eqx.is_inexact_array(a) else a, tree)
