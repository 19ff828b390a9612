"""Real vectors with correlated entries."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import solve_triangular
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from ..._numerics.checks import check_positive_int
from ...ops.linear import low_rank_factor, strict_lower
from ...ops.scales import bounded_scale, check_scale_range
from .base import Conditional

__all__ = ["LowRankNormalConditional", "MultivariateNormalConditional"]


class _NormalVector(Conditional):
    """The map :math:`x = m + L u` from noise, of the lower triangular factor of the covariance."""

    def to_noise(self, params: Array, x: Array) -> tuple[Array, Array]:
        d = self(params)
        factor, rest = d.scale_tril, x - d.loc
        factor = jnp.broadcast_to(factor, rest.shape + rest.shape[-1:])
        u = solve_triangular(factor, rest[..., None], lower=True)[..., 0]
        return u, -_log_diagonal(factor)

    def from_noise(self, params: Array, u: Array) -> tuple[Array, Array]:
        d = self(params)
        factor = d.scale_tril
        x = d.loc + (factor @ u[..., None])[..., 0]
        return x, jnp.broadcast_to(_log_diagonal(factor), x.shape)


def _log_diagonal(factor: Array) -> Array:
    return jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))


@dataclass(frozen=True)
class MultivariateNormalConditional(_NormalVector):
    r"""A normal vector :math:`N(m, L L^T)` of any covariance.

    The factor is :math:`L = \operatorname{diag}(s)\, (I + N)` with scales :math:`s` as of
    :class:`NormalConditional` and ``N`` strictly lower triangular.

    Args:
        dim: number ``D`` of entries; there are ``2 D + D (D - 1) / 2`` parameters.
        min_scale: lower limit of the scales, at least 0.

    Example:
        >>> import jax.numpy as jnp
        >>> MultivariateNormalConditional(3)(jnp.zeros((5, 9))).event_shape
        (3,)
    """

    dim: int
    min_scale: float = 1e-3

    def __post_init__(self):
        check_positive_int("dim", self.dim)
        check_scale_range(self.min_scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def num_params(self) -> int:
        return 2 * self.dim + self.dim * (self.dim - 1) // 2

    def __call__(self, params: Array) -> Distribution:
        scale = bounded_scale(params[..., self.dim : 2 * self.dim], self.min_scale)
        lower = jnp.eye(self.dim, dtype=params.dtype) + strict_lower(
            params[..., 2 * self.dim :], self.dim
        )
        return dist.MultivariateNormal(params[..., : self.dim], scale_tril=scale[..., None] * lower)


@dataclass(frozen=True)
class LowRankNormalConditional(_NormalVector):
    r"""A normal vector :math:`N(m, \operatorname{diag}(s)^2 + W W^T)`.

    Args:
        dim: number ``D`` of entries.
        rank: number ``R`` of columns of ``W``; there are ``(2 + R) D`` parameters.
        min_scale: lower limit of the scales ``s``, positive.

    Example:
        >>> import jax.numpy as jnp
        >>> LowRankNormalConditional(3, rank=1)(jnp.zeros((5, 9))).event_shape
        (3,)
    """

    dim: int
    rank: int
    min_scale: float = 1e-3

    def __post_init__(self):
        check_positive_int("dim", self.dim)
        check_positive_int("rank", self.rank)
        check_scale_range(self.min_scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def num_params(self) -> int:
        return (2 + self.rank) * self.dim

    def __call__(self, params: Array) -> Distribution:
        # the host's distribution of this name has wrong densities in single precision where W is
        # large beside s
        scale = bounded_scale(params[..., self.dim : 2 * self.dim], self.min_scale)
        vectors = params[..., 2 * self.dim :].reshape(params.shape[:-1] + (self.dim, self.rank))
        factor = low_rank_factor(vectors, scale**2)
        return dist.MultivariateNormal(params[..., : self.dim], scale_tril=factor)
