"""A Bayesian mixture of normal distributions: coordinate ascent beside SVI and NUTS."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma
from numpyro import distributions as dist
from numpyro.distributions import Distribution, constraints

from .._numerics.checks import check_choice
from .._numerics.mixture_settings import mixture_prior, predictive_parameters
from .._numerics.variational_mixture import MixturePosterior, MixturePrior, coordinate_ascent
from .base import data_plate

__all__ = ["BayesianGaussianMixture"]

SEED = 0


class BayesianGaussianMixture(eqx.Module):
    r"""A mixture of normal distributions with conjugate priors, and its mean-field guide.

    .. math::
        \pi \sim \mathrm{Dirichlet}(\alpha_0), \quad
        L_k L_k^T = \Lambda_k \sim \mathrm{Wishart}(\nu_0, W_0), \quad
        \mu_k \sim N(m_0, (\beta_0 \Lambda_k)^{-1}), \quad
        x_n \sim \textstyle\sum_k \pi_k N(\mu_k, \Lambda_k^{-1})

    Sites are ``weights``, in a plate ``components`` ``precision_tril`` (:math:`L_k`) and ``loc``,
    and in the plate ``data`` ``x``. The posterior of the mean-field family is found in closed form
    by :meth:`coordinate_ascent`; the guide holds the same family for SVI. The model runs under any
    kernel and guide of the host.

    Args:
        num_components: number ``K`` of components.
        input_dim: number ``D`` of dimensions.
        concentration: :math:`\alpha_0`, a number or shape ``(K,)``, default ``1 / K``.
        loc: :math:`m_0`, shape ``(D,)``, default zeros.
        loc_precision: :math:`\beta_0`.
        degrees: :math:`\nu_0`, above ``D - 1``, default ``D``.
        scale_matrix: :math:`W_0`, shape ``(D, D)``, default the identity over the degrees.
        assignments: ``'marginal'`` sums over the components of each datum in the likelihood;
            ``'enumerated'`` has a discrete site ``z``, for ``TraceEnum_ELBO``, which the guide
            gives its optimal distribution.
        start: :class:`MixturePosterior` at which the guide starts, or None for the prior, its
            locations spread by fixed draws.
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if an argument is out of range or of the wrong shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from jax import random
        >>> shift = jnp.where(jnp.arange(100) < 60, -4.0, 4.0)[:, None]
        >>> x = random.normal(random.key(0), (100, 2)) + shift
        >>> found = BayesianGaussianMixture(4, 2).coordinate_ascent(x, num_starts=5)
        >>> found.weights.round(1).tolist(), found.converged
        ([0.6, 0.4, 0.0, 0.0], True)

    References:
        Bishop (2006), Pattern recognition and machine learning, section 10.2.
    """

    mixture_prior: MixturePrior = eqx.field(static=True)
    start: MixturePosterior | None = eqx.field(static=True)
    num_components: int = eqx.field(static=True)
    input_dim: int = eqx.field(static=True)
    assignments: str = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self,
        num_components: int,
        input_dim: int,
        *,
        concentration: float | np.ndarray | None = None,
        loc: np.ndarray | None = None,
        loc_precision: float = 1.0,
        degrees: float | None = None,
        scale_matrix: np.ndarray | None = None,
        assignments: str = "marginal",
        start: MixturePosterior | None = None,
        name: str = "bayesian_gaussian_mixture",
    ):
        self.mixture_prior = mixture_prior(
            num_components, input_dim, concentration, loc, loc_precision, degrees, scale_matrix
        )
        self.assignments = check_choice("assignments", assignments, ("marginal", "enumerated"))
        self.num_components, self.input_dim = num_components, input_dim
        self.start, self.name = start, name

    def coordinate_ascent(
        self,
        x: Array,
        num_starts: int = 10,
        *,
        seed: int = 0,
        max_steps: int = 1000,
        tolerance: float = 1e-8,
    ) -> MixturePosterior:
        """Find the mean-field posterior in closed form, coordinate by coordinate.

        Args:
            x: all data, shape ``(N, D)``.
            num_starts: number of starts, by greedy k-means++ seeds; the best bound is kept.
            seed: seed of the starts.
            max_steps: largest number of steps from a start.
            tolerance: relative rise of the bound below which a start has converged.

        Returns:
            :class:`MixturePosterior`, its components from the largest to the smallest.
        """
        points = np.asarray(x, np.float64)
        rng = np.random.default_rng(seed)
        found = coordinate_ascent(points, self.mixture_prior, rng, num_starts, max_steps, tolerance)
        return found.sorted()

    def model(self, x: Array | None = None, *, size: int | None = None) -> Array:
        """Draw the parameters and the data.

        Args:
            x: data, shape ``(B, D)``, or None to draw them.
            size: number of all data if these are a minibatch; of data to draw without ``x``.
        """
        prior, like = self.mixture_prior, x if x is not None else jnp.zeros(())
        weights = numpyro.sample("weights", dist.Dirichlet(_array(prior.concentration, like)))
        scale_tril = _array(np.linalg.cholesky(prior.scale_matrix), like)
        degrees, mean = _array(prior.degrees, like), _array(prior.loc, like)
        with numpyro.plate("components", self.num_components):
            tril = numpyro.sample(
                "precision_tril", dist.WishartCholesky(degrees, scale_tril=scale_tril)
            )
            loc = numpyro.sample("loc", _normal(mean, prior.loc_precision**0.5 * tril))
        # components in the last dimension, particles to the left
        with data_plate(x, None, size):
            if self.assignments == "enumerated":
                z = numpyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
                components = _normal(loc[z], tril[z])
                return numpyro.sample("x", components, obs=x)
            loc, tril = _before_data(loc, 2), _before_data(tril, 3)
            mixing = dist.Categorical(weights)
            return numpyro.sample("x", dist.MixtureSameFamily(mixing, _normal(loc, tril)), obs=x)

    def guide(self, x: Array, *, size: int | None = None) -> None:
        """Draw the parameters from the mean-field family; arguments as of :meth:`model`."""
        concentration, locs, precisions, degrees, scale_tril = self._variational_parameters(x)
        numpyro.sample("weights", dist.Dirichlet(concentration))
        with numpyro.plate("components", self.num_components):
            tril = numpyro.sample(
                "precision_tril", dist.WishartCholesky(degrees, scale_tril=scale_tril)
            )
            numpyro.sample("loc", _normal(locs, jnp.sqrt(precisions)[..., None, None] * tril))
        if self.assignments == "enumerated":
            logits = _expected_log_joint(x, concentration, locs, precisions, degrees, scale_tril)
            with data_plate(x, None, size):
                numpyro.sample(
                    "z", dist.Categorical(logits=logits), infer={"enumerate": "parallel"}
                )

    def predictive(self, posterior: MixturePosterior) -> Distribution:
        """Return the density of a new datum, a mixture of Student-t distributions (10.81)."""
        weights, df, loc, scale_tril = map(jnp.asarray, predictive_parameters(posterior))
        components = dist.MultivariateStudentT(df, loc, scale_tril)
        return dist.MixtureSameFamily(dist.Categorical(weights), components)

    def sample(self, rng_key: Array, num_samples: int, posterior: MixturePosterior) -> Array:
        """Draw new data, shape ``(num_samples, D)``."""
        return self.predictive(posterior).sample(rng_key, (num_samples,))

    def encode(self, x: Array, posterior: MixturePosterior) -> Array:
        """Return the probability of each component for each datum, shape ``(N, K)``."""
        return _array(posterior.assign(np.asarray(x, np.float64)), x)

    def _variational_parameters(self, x: Array) -> tuple[Array, ...]:
        start = self._start(x)
        bounds = (
            constraints.positive,
            constraints.real_vector,
            constraints.positive,
            constraints.greater_than(self.input_dim - 1.0),
            constraints.lower_cholesky,
        )
        names = ("concentration", "locs", "loc_precisions", "degrees", "scale_trils")
        return tuple(
            numpyro.param(f"{self.name}.{name}", _array(value, x), constraint=bound)
            for name, value, bound in zip(names, start, bounds, strict=True)
        )

    def _start(self, x: Array) -> tuple[np.ndarray, ...]:
        if self.start is not None:
            return self.start.parameters()
        rng = np.random.default_rng(SEED)
        noise = rng.standard_normal((self.num_components, self.input_dim))
        return self.mixture_prior.spread(noise).parameters()


def _normal(loc: Array, precision_tril: Array) -> Distribution:
    """The normal distribution of this lower factor of its precision matrix."""
    eye = jnp.broadcast_to(jnp.eye(loc.shape[-1], dtype=precision_tril.dtype), precision_tril.shape)
    inverse = solve_triangular(precision_tril, eye, lower=True)
    return dist.MultivariateNormal(loc, covariance_matrix=inverse.mT @ inverse)


def _before_data(value: Array, dim: int) -> Array:
    """Put a dimension for the data before that of the components."""
    return jnp.expand_dims(value, -dim - 1) if value.ndim > dim else value


def _expected_log_joint(x, concentration, locs, precisions, degrees, scale_tril) -> Array:
    """Return (10.46), ``E[log pi_k N(x_n; mu_k, Lambda_k^-1)]`` and a constant, ``(B, K)``."""
    log_dets = digamma(0.5 * (degrees[:, None] - jnp.arange(x.shape[-1]))).sum(-1)
    log_dets = log_dets + 2.0 * jnp.log(jnp.diagonal(scale_tril, axis1=-2, axis2=-1)).sum(-1)
    projected = jnp.einsum("kji,nkj->nki", scale_tril, x[:, None] - locs)
    quadratic = x.shape[-1] / precisions + degrees * (projected**2).sum(-1)
    return digamma(concentration) + 0.5 * (log_dets - quadratic)


def _array(value, like: Array) -> Array:
    return jnp.asarray(value, like.dtype)
