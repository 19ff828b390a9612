"""Real vectors with correlated entries."""

from dataclasses import dataclass

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ...ops.linear import low_rank_factor, strict_lower
from ...ops.scales import bounded_scale, check_scale_range
from .base import Conditional

__all__ = ["LowRankNormalConditional", "MultivariateNormalConditional"]


class _NormalVector(Conditional):
    """The map :math:`x = m + L u` from noise, of the lower triangular factor of the covariance."""

    def to_noise(self, params: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        d = self(params)
        factor, rest = d.scale_tril, (x - d.loc).unsqueeze(-1)
        u = torch.linalg.solve_triangular(factor, rest, upper=False).squeeze(-1)
        return u, -_log_diagonal(factor).expand(u.shape)

    def from_noise(self, params: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        d = self(params)
        factor = d.scale_tril
        x = d.loc + (factor @ u.unsqueeze(-1)).squeeze(-1)
        return x, _log_diagonal(factor).expand(x.shape)


def _log_diagonal(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log()


@dataclass(frozen=True)
class MultivariateNormalConditional(_NormalVector):
    r"""A normal vector :math:`N(m, L L^T)` of any covariance.

    The factor is :math:`L = \operatorname{diag}(s)\, (I + N)` with scales :math:`s` as of
    :class:`NormalConditional` and ``N`` strictly lower triangular.

    Args:
        dim: number ``D`` of entries; there are ``2 D + D (D - 1) / 2`` parameters.
        min_scale: lower limit of the scales, at least 0.

    Example:
        >>> import torch
        >>> MultivariateNormalConditional(3)(torch.zeros(5, 9)).event_shape
        torch.Size([3])
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

    def __call__(self, params: Tensor) -> Distribution:
        scale = bounded_scale(params[..., self.dim : 2 * self.dim], self.min_scale)
        eye = torch.eye(self.dim, dtype=params.dtype, device=params.device)
        lower = eye + strict_lower(params[..., 2 * self.dim :], self.dim)
        return dist.MultivariateNormal(params[..., : self.dim], scale_tril=scale[..., None] * lower)


@dataclass(frozen=True)
class LowRankNormalConditional(_NormalVector):
    r"""A normal vector :math:`N(m, \operatorname{diag}(s)^2 + W W^T)`.

    Args:
        dim: number ``D`` of entries.
        rank: number ``R`` of columns of ``W``; there are ``(2 + R) D`` parameters.
        min_scale: lower limit of the scales ``s``, positive.

    Example:
        >>> import torch
        >>> LowRankNormalConditional(3, rank=1)(torch.zeros(5, 9)).event_shape
        torch.Size([3])
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

    def __call__(self, params: Tensor) -> Distribution:
        # the host's distribution of this name has wrong densities in single precision where W is
        # large beside s
        scale = bounded_scale(params[..., self.dim : 2 * self.dim], self.min_scale)
        vectors = params[..., 2 * self.dim :].reshape(params.shape[:-1] + (self.dim, self.rank))
        factor = low_rank_factor(vectors, scale**2)
        return dist.MultivariateNormal(params[..., : self.dim], scale_tril=factor)
