"""Normal variables of top-down models: scales that neither vanish nor explode."""

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor

from ..distributions.residual_normal import ResidualNormal

__all__ = ["joined", "normal_of", "precision_weighted", "residual_normal_of", "standard_normal"]

MIN_SCALE = 1e-2
LIMIT = 5.0


def clamped(raw: Tensor) -> Tensor:
    r"""Softly clamped numbers :math:`5 \tanh(a / 5)`."""
    return LIMIT * torch.tanh(raw / LIMIT)


def normal_of(params: Tensor, event_dim: int) -> Distribution:
    """Normal variables by location and clamped log scale, halves of the first event dimension."""
    loc, raw = params.chunk(2, -event_dim)
    return dist.Normal(loc, MIN_SCALE + clamped(raw).exp()).to_event(event_dim)


def standard_normal(like: Tensor, shape: tuple[int, ...], event_dim: int) -> Distribution:
    """Standard normal variables of this shape."""
    return dist.Normal(like.new_zeros(shape), like.new_ones(shape)).to_event(event_dim)


def precision_weighted(prior: Distribution, found: Distribution, event_dim: int) -> Distribution:
    """The normalised product of the normal densities of a prior and of what data say."""
    # Soenderby et al. 2016, eq. 19 and 20
    a, b = prior.base_dist.scale**-2, found.base_dist.scale**-2
    loc = (prior.base_dist.loc * a + found.base_dist.loc * b) / (a + b)
    return dist.Normal(loc, (a + b) ** -0.5).to_event(event_dim)


def residual_normal_of(prior: Distribution, params: Tensor, event_dim: int) -> Distribution:
    """A normal distribution relative to the prior, the differences softly clamped."""
    loc, raw = (clamped(half) for half in params.chunk(2, -event_dim))
    return ResidualNormal(prior.base_dist, loc, raw).to_event(event_dim)


def joined(*parts: Tensor | None, event_dim: int = 1) -> Tensor:
    """Arrays side by side in the first event dimension; their batch shapes broadcast."""
    parts = [part for part in parts if part is not None]
    lead = torch.broadcast_shapes(*(part.shape[: part.dim() - event_dim] for part in parts))
    return torch.cat(
        [p.expand(lead + p.shape[p.dim() - event_dim :]) for p in parts], dim=-event_dim
    )
