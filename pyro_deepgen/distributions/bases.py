"""Base distributions of flows, as modules."""

import copy
from collections.abc import Callable

import torch
from pyro.distributions import Distribution, Normal
from torch import Tensor, nn

from .._numerics.checks import check_positive_int

__all__ = ["StandardNormal"]


class StandardNormal(nn.Module):
    r"""A module whose call gives :math:`N(0, I_D)` on the module's device and dtype.

    Args:
        input_dim: ``D``.

    Example:
        >>> StandardNormal(3)().event_shape
        torch.Size([3])
    """

    def __init__(self, input_dim: int):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.register_buffer("loc", torch.zeros(self.input_dim), persistent=False)

    def forward(self, context: Tensor | None = None) -> Distribution:
        return Normal(self.loc, torch.ones_like(self.loc)).to_event(1)


class FixedBase(nn.Module):
    """A host distribution that moves with the module but is not trained.

    Args:
        base_dist: distribution of event shape ``(D,)`` and empty batch shape.
    """

    def __init__(self, base_dist: Distribution):
        super().__init__()
        self.base_dist = base_dist

    def forward(self, context: Tensor | None = None) -> Distribution:
        return self.base_dist

    def _apply(self, fn: Callable, recurse: bool = True) -> "FixedBase":
        self.base_dist = _map_tensors(self.base_dist, fn)
        return super()._apply(fn, recurse)


def as_base(base_dist, input_dim: int) -> nn.Module:
    """Turn the ``base_dist`` argument of a flow into a module, checking its event shape."""
    if isinstance(base_dist, nn.Module):
        found = getattr(base_dist, "input_dim", input_dim)
    elif isinstance(base_dist, torch.distributions.Distribution):
        if base_dist.batch_shape != ():
            raise ValueError(
                f"base_dist must have an empty batch shape, got {tuple(base_dist.batch_shape)}; "
                "turn batch dimensions into event dimensions with .to_event."
            )
        if len(base_dist.event_shape) != 1:
            raise ValueError(
                f"base_dist must have event shape ({input_dim},), got "
                f"{tuple(base_dist.event_shape)}; use .to_event(1) on a vector of scalars."
            )
        found = base_dist.event_shape[0]
        base_dist = FixedBase(base_dist)
    else:
        raise TypeError(
            f"base_dist must be a distribution or a module that gives one, got {base_dist!r}; "
            "pass for example StandardNormal(input_dim)."
        )
    if found != input_dim:
        raise ValueError(
            f"base_dist must have input_dim={input_dim} like the transforms, got {found}; "
            "build them alike."
        )
    return base_dist


def _map_tensors(obj, fn: Callable):
    """Return a copy of a distribution or transform with ``fn`` applied to its tensors."""
    if isinstance(obj, Tensor):
        return fn(obj)
    if isinstance(obj, (list, tuple)):
        return type(obj)(_map_tensors(item, fn) for item in obj)
    kinds = (torch.distributions.Distribution, torch.distributions.Transform)
    if not isinstance(obj, kinds) or isinstance(obj, nn.Module):
        return obj
    clone = copy.copy(obj)
    for name, value in vars(obj).items():
        if not isinstance(value, torch.Size):
            clone.__dict__[name] = _map_tensors(value, fn)
    return clone
