"""The bounds of Renyi's divergences, of which the importance-weighted bound is one."""

from jax import Array, lax

from .base import ParticleELBO
from .particles import Program, log_weights_of, per_element
from .paths import log_weights_along_draws
from .settings import check_settings, not_reparameterized
from .sites import TracePair, WeightPlan, plan_weights
from .weights import leave_one_out, renyi_bound

__all__ = ["IWELBO", "STLELBO", "RenyiELBO"]


class RenyiELBO(ParticleELBO):
    r"""The variational bound of Renyi's divergence of order ``alpha``, a weight for each datum.

    .. math::
        L = \frac NB \sum_{n=1}^B \frac{1}{1 - \alpha} \log \frac1K \sum_{k=1}^K
            \Big(\frac{p(x_n, z_{nk})}{q(z_{nk} \mid x_n)}\Big)^{1 - \alpha}

    The data plate is the one that all sites of model and guide lie in. The scale :math:`N / B` of
    its minibatch, which all particles share, stays outside the logarithm, and so does a scale of
    a handler around everything. With one particle, and for ``alpha = 1``, this is the evidence
    lower bound of any model. Larger orders are tighter to modes, negative ones are no lower
    bounds.

    Args:
        alpha: order of the divergence, any real number or ``math.inf`` of either sign. 0 gives the
            importance-weighted bound, 1 the evidence lower bound, infinity that of the least and
            minus infinity that of the largest weight.
        num_particles: number :math:`K` of draws for each datum.
        chunk: number of particles whose computations are held in memory, None for all. The value
            and the gradient are those without chunks, at the cost of a second forward pass.
        gradient: ``'plain'``, the derivative along the draws; ``'stl'``, without the derivative
            of the guide's density in its parameters (sticking the landing), unbiased for one
            particle and for ``alpha = 1`` only; ``'dreg'``, doubly reparameterised, unbiased for
            any; ``'vimco'``, for guides with discrete sites, whose particles are each other's
            baselines. All but the last need sites that can be reparameterised. The second and
            third evaluate the guide's density at given values, which some flows do slowly.
        joint: whether there is one weight for all data. It must be where a latent site lies
            outside the data plate, as the joint site of an ``AutoContinuous`` guide does.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. In use: if a site lies outside the data plate,
            sites do not match, a plate inside a weight is subsampled, sites have different
            scales, or a site cannot be reparameterised.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro.infer import SVI
        >>> def model(x):
        ...     with numpyro.plate("data", 1000, subsample_size=10) as rows:
        ...         z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...         numpyro.sample("x", dist.Normal(z, 1.0), obs=x[rows])
        >>> def guide(x):
        ...     slope = numpyro.param("slope", 0.1)
        ...     with numpyro.plate("data", 1000, subsample_size=10) as rows:
        ...         numpyro.sample("z", dist.Normal(slope * x[rows], 0.8))
        >>> x = jnp.linspace(-3.0, 3.0, 1000)
        >>> elbo = RenyiELBO(0.5, num_particles=5)
        >>> svi = SVI(model, guide, numpyro.optim.Adam(0.01), elbo)
        >>> result = svi.run(random.key(0), 300, x, progress_bar=False)
        >>> bool(abs(result.params["slope"] - 0.5) < 0.1)
        True

    References:
        Li & Turner (2016), Renyi divergence variational inference, eq. 6, 9 and 12; Burda, Grosse &
        Salakhutdinov (2016), Importance weighted autoencoders; Roeder, Wu & Duvenaud (2017),
        Sticking the landing, eq. 8; Tucker, Lawson, Gu & Maddison (2019), Doubly reparameterized
        gradient estimators, eq. 8; Mnih & Rezende (2016), Variational inference for Monte Carlo
        objectives, eq. 7-10.
    """

    def __init__(
        self,
        alpha: float,
        num_particles: int = 2,
        chunk: int | None = None,
        gradient: str = "plain",
        joint: bool = False,
    ):
        super().__init__(num_particles, chunk)
        self.alpha, self.gradient, self.joint = check_settings(
            alpha, num_particles, gradient, joint
        )
        self.can_infer_discrete = self.gradient == "vimco"

    def bound(self, program: Program) -> Array:
        """The bound, whose gradient is the estimator's."""
        plans: list[WeightPlan | None] = []

        def terms(pair: TracePair) -> dict[str, Array]:
            plans.append(self._plan(pair))
            return self._terms(pair, plans[-1])

        if self.gradient in ("stl", "dreg"):
            bound = renyi_bound(
                log_weights_along_draws(program, terms, plans, self.alpha, self.gradient == "dreg"),
                self.alpha,
            )
        else:
            found = program.particles(terms)
            bound = renyi_bound(found["log_weights"], self.alpha)
            if "score" in found:
                log_weights = lax.stop_gradient(found["log_weights"])
                bound = bound + self._score_term(log_weights, found["score"])
        return bound.sum() * (1.0 if plans[-1] is None else plans[-1].scale)

    def _plan(self, pair: TracePair) -> WeightPlan | None:
        """What the weights are separate over, None where a sum over everything is the bound."""
        linear = self.alpha == 1.0 and (self.joint or self.gradient != "vimco")
        if linear or self.num_particles == 1:
            return None
        return plan_weights(pair, self.joint)

    def _terms(self, pair: TracePair, plan: WeightPlan | None) -> dict[str, Array]:
        found = {"log_weights": log_weights_of(pair, plan)}
        scored = [s for s in pair.guide.values() if not (s.observed or s.fn.has_rsample)]
        if scored and self.gradient == "vimco":
            plates = () if plan is None else plan.plates
            found["score"] = sum(per_element(site.log_prob, plates) for site in scored)
        elif scored:
            raise not_reparameterized(scored[0].name, f"gradient={self.gradient!r}")
        return found

    def _score_term(self, log_weights: Array, score: Array) -> Array:
        """A term of value zero with the derivative along the guide's probabilities."""
        # Mnih & Rezende 2016, eq. 7
        signal = renyi_bound(log_weights, self.alpha) - leave_one_out(log_weights, self.alpha)
        return (signal * (score - lax.stop_gradient(score))).sum(0)


class IWELBO(RenyiELBO):
    r"""The importance-weighted bound on the log evidence, a weight for each datum.

    .. math::
        L_K = \frac NB \sum_{n=1}^B \log \frac1K \sum_{k=1}^K
            \frac{p(x_n, z_{nk})}{q(z_{nk} \mid x_n)} \le \log p(x)

    in expectation, rising with :math:`K`. It is :class:`RenyiELBO` with ``alpha=0``, which tells
    of data plates, minibatches and scales.

    Args:
        num_particles: number :math:`K` of draws for each datum.
        chunk: number of particles whose computations are held in memory, None for all. The value
            and the gradient are those without chunks, at the cost of a second forward pass.
        gradient: ``'plain'``, the derivative along the draws; ``'stl'``, without the derivative
            of the guide's density in its parameters (sticking the landing), unbiased for one
            particle only; ``'dreg'``, doubly reparameterised, unbiased for any; ``'vimco'``, for
            guides with discrete sites, whose particles are each other's baselines.
        joint: whether there is one weight for all data. It must be where a latent site lies
            outside the data plate, as the joint site of an ``AutoContinuous`` guide does.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range, or model and guide do not fit; see
            :class:`RenyiELBO`.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro.infer import SVI
        >>> def model(x):
        ...     with numpyro.plate("data", 1000, subsample_size=10) as rows:
        ...         z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...         numpyro.sample("x", dist.Normal(z, 1.0), obs=x[rows])
        >>> def guide(x):
        ...     slope = numpyro.param("slope", 0.1)
        ...     with numpyro.plate("data", 1000, subsample_size=10) as rows:
        ...         numpyro.sample("z", dist.Normal(slope * x[rows], 0.8))
        >>> x = jnp.linspace(-3.0, 3.0, 1000)
        >>> elbo = IWELBO(num_particles=5, gradient="dreg")
        >>> svi = SVI(model, guide, numpyro.optim.Adam(0.01), elbo)
        >>> result = svi.run(random.key(0), 300, x, progress_bar=False)
        >>> bool(abs(result.params["slope"] - 0.5) < 0.1)
        True

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, eq. 8; Tucker,
        Lawson, Gu & Maddison (2019), Doubly reparameterized gradient estimators, eq. 8; Mnih &
        Rezende (2016), Variational inference for Monte Carlo objectives, eq. 7-10.
    """

    def __init__(
        self,
        num_particles: int = 2,
        chunk: int | None = None,
        gradient: str = "plain",
        joint: bool = False,
    ):
        super().__init__(0.0, num_particles, chunk, gradient, joint)


class STLELBO(RenyiELBO):
    r"""The evidence lower bound, its gradient along the draws alone.

    .. math::
        \nabla_\phi L = \mathbb E\Big[\frac{\partial}{\partial z}
            \big(\log p(x, z) - \log q(z; \phi)\big) \frac{\partial z}{\partial \phi}\Big]

    The derivative of :math:`\log q` in its own parameters, zero in expectation, is left out: the
    gradient is still unbiased, and without variance where the guide is the posterior. Plates,
    subsamples and scales are as in the host's ``Trace_ELBO``.

    Args:
        num_particles: number of draws to average over.
        chunk: number of particles whose computations are held in memory, None for all.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. In use: if sites do not match, or one cannot be
            reparameterised.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.0)
        >>> def guide():
        ...     loc = numpyro.param("loc", 0.5)
        ...     numpyro.sample("z", dist.Normal(loc, 0.5**0.5))  # the posterior
        >>> def loss(params):
        ...     return STLELBO().loss(random.key(0), params, model, guide)
        >>> bool(abs(jax.grad(loss)({"loc": 0.5})["loc"]) < 1e-5)
        True

    References:
        Roeder, Wu & Duvenaud (2017), Sticking the landing, eq. 8.
    """

    def __init__(self, num_particles: int = 1, chunk: int | None = None):
        super().__init__(1.0, num_particles, chunk, "stl", True)
