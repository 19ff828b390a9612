"""Real vectors with correlated entries."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from ..._numerics.checks import check_positive_int
from ...ops.linear import strict_lower
from ...ops.scales import bounded_scale, check_scale_range
from .base import Conditional

__all__ = ["LowRankNormalConditional", "MultivariateNormalConditional"]


@dataclass(frozen=True)
class MultivariateNormalConditional(Conditional):
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
class LowRankNormalConditional(Conditional):
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
        scale = bounded_scale(params[..., self.dim : 2 * self.dim], self.min_scale)
        factor = params[..., 2 * self.dim :].reshape(params.shape[:-1] + (self.dim, self.rank))
        return dist.LowRankMultivariateNormal(params[..., : self.dim], factor, scale**2)
