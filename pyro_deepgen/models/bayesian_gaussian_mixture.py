"""A Bayesian mixture of normal distributions: coordinate ascent beside SVI and NUTS."""

import numpy as np
import pyro
import torch
from pyro import distributions as dist
from pyro.distributions import Distribution, constraints
from torch import Tensor, nn

from .._numerics.checks import check_choice
from .._numerics.mixture_settings import mixture_prior, predictive_parameters
from .._numerics.variational_mixture import MixturePosterior, coordinate_ascent
from ..distributions._wishart import WishartCholesky
from .base import data_plate

__all__ = ["BayesianGaussianMixture"]

SEED = 0


class BayesianGaussianMixture(nn.Module):
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
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> x = torch.cat([torch.randn(60, 2) - 4, torch.randn(40, 2) + 4])
        >>> found = BayesianGaussianMixture(4, 2).coordinate_ascent(x, num_starts=5)
        >>> found.weights.round(1).tolist(), found.converged
        ([0.6, 0.4, 0.0, 0.0], True)

    References:
        Bishop (2006), Pattern recognition and machine learning, section 10.2.
    """

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
        super().__init__()
        self.mixture_prior = mixture_prior(
            num_components, input_dim, concentration, loc, loc_precision, degrees, scale_matrix
        )
        self.assignments = check_choice("assignments", assignments, ("marginal", "enumerated"))
        self.num_components, self.input_dim = num_components, input_dim
        self.start, self.name = start, name

    def coordinate_ascent(
        self,
        x: Tensor,
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
        points = x.detach().cpu().numpy()
        rng = np.random.default_rng(seed)
        found = coordinate_ascent(points, self.mixture_prior, rng, num_starts, max_steps, tolerance)
        return found.sorted()

    def model(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        """Draw the parameters and the data.

        Args:
            x: data, shape ``(B, D)``, or None to draw them.
            size: number of all data if these are a minibatch; of data to draw without ``x``.
        """
        prior, like = self.mixture_prior, x if x is not None else torch.zeros(())
        weights = pyro.sample("weights", dist.Dirichlet(_array(prior.concentration, like)))
        scale_tril = _array(np.linalg.cholesky(prior.scale_matrix), like)
        degrees, mean = _array(prior.degrees, like), _array(prior.loc, like)
        with pyro.plate("components", self.num_components):
            tril = pyro.sample("precision_tril", WishartCholesky(degrees, scale_tril))
            loc = pyro.sample("loc", _normal(mean, prior.loc_precision**0.5 * tril))
        # components in the last dimension, particles to the left
        with data_plate(x, None, size):
            if self.assignments == "enumerated":
                z = pyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
                components = _normal(_pick(loc, z, 1), _pick(tril, z, 2))
                return pyro.sample("x", components, obs=x)
            loc, tril = _before_data(loc, 2), _before_data(tril, 3)
            mixing = dist.Categorical(weights)
            return pyro.sample("x", dist.MixtureSameFamily(mixing, _normal(loc, tril)), obs=x)

    def guide(self, x: Tensor, *, size: int | None = None) -> None:
        """Draw the parameters from the mean-field family; arguments as of :meth:`model`."""
        concentration, locs, precisions, degrees, scale_tril = self._variational_parameters(x)
        pyro.sample("weights", dist.Dirichlet(concentration))
        with pyro.plate("components", self.num_components):
            tril = pyro.sample("precision_tril", WishartCholesky(degrees, scale_tril))
            pyro.sample("loc", _normal(locs, precisions.sqrt()[..., None, None] * tril))
        if self.assignments == "enumerated":
            logits = _expected_log_joint(x, concentration, locs, precisions, degrees, scale_tril)
            with data_plate(x, None, size):
                pyro.sample("z", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})

    def predictive(self, posterior: MixturePosterior) -> Distribution:
        """Return the density of a new datum, a mixture of Student-t distributions (10.81)."""
        weights, df, loc, scale_tril = map(torch.as_tensor, predictive_parameters(posterior))
        components = dist.MultivariateStudentT(df, loc, scale_tril)
        return dist.MixtureSameFamily(dist.Categorical(weights), components)

    def sample(self, num_samples: int, posterior: MixturePosterior) -> Tensor:
        """Draw new data, shape ``(num_samples, D)``."""
        return self.predictive(posterior).sample((num_samples,))

    def encode(self, x: Tensor, posterior: MixturePosterior) -> Tensor:
        """Return the probability of each component for each datum, shape ``(N, K)``."""
        return torch.as_tensor(posterior.assign(x.detach().cpu().numpy())).to(x)

    def _variational_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
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
            pyro.param(f"{self.name}.{name}", lambda v=value: _array(v, x), constraint=bound)
            for name, value, bound in zip(names, start, bounds, strict=True)
        )

    def _start(self, x: Tensor) -> tuple[np.ndarray, ...]:
        if self.start is not None:
            return self.start.parameters()
        rng = np.random.default_rng(SEED)
        noise = rng.standard_normal((self.num_components, self.input_dim))
        return self.mixture_prior.spread(noise).parameters()


def _normal(loc: Tensor, precision_tril: Tensor) -> Distribution:
    """The normal distribution of this lower factor of its precision matrix."""
    eye = torch.eye(loc.shape[-1], dtype=precision_tril.dtype, device=precision_tril.device)
    inverse = torch.linalg.solve_triangular(precision_tril, eye, upper=False)
    return dist.MultivariateNormal(loc, covariance_matrix=inverse.mT @ inverse)


def _before_data(value: Tensor, dim: int) -> Tensor:
    """Put a dimension for the data before that of the components."""
    return value.unsqueeze(-dim - 1) if value.dim() > dim else value


def _pick(values: Tensor, z: Tensor, event_dim: int) -> Tensor:
    """The values of the components of each datum."""
    place = values.dim() - event_dim - 1
    if place == 0:
        return values[z]
    raise ValueError(
        "assignments='enumerated' must be run one particle at a time, got particles in parallel; "
        "pass vectorize_particles=False, or assignments='marginal'."
    )


def _expected_log_joint(x, concentration, locs, precisions, degrees, scale_tril) -> Tensor:
    """Return (10.46), ``E[log pi_k N(x_n; mu_k, Lambda_k^-1)]`` and a constant, ``(B, K)``."""
    steps = torch.arange(x.shape[-1]).to(x)
    log_dets = torch.digamma(0.5 * (degrees[:, None] - steps)).sum(-1)
    log_dets = log_dets + 2.0 * scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    projected = torch.einsum("kji,nkj->nki", scale_tril, x[:, None] - locs)
    quadratic = x.shape[-1] / precisions + degrees * projected.square().sum(-1)
    return torch.digamma(concentration) + 0.5 * (log_dets - quadratic)


def _array(value, like: Tensor) -> Tensor:
    return torch.as_tensor(value).to(like.device, like.dtype)
