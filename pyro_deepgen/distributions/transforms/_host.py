"""Tensors inside objects of the host."""

import copy
from collections.abc import Callable

import torch
from pyro.distributions import constraints
from torch import Tensor, nn

__all__ = ["map_tensors", "without_graph"]

KINDS = (
    constraints.Constraint,
    torch.distributions.Distribution,
    torch.distributions.Transform,
)


def map_tensors(obj, fn: Callable):
    """Return a copy of a distribution, transform or constraint with ``fn`` on its tensors."""
    if isinstance(obj, Tensor):
        return fn(obj)
    if isinstance(obj, (list, tuple)):
        return type(obj)(map_tensors(item, fn) for item in obj)
    if not isinstance(obj, KINDS) or isinstance(obj, nn.Module):
        return obj
    clone = copy.copy(obj)
    for name, value in vars(obj).items():
        if not isinstance(value, torch.Size):
            clone.__dict__[name] = map_tensors(value, fn)
    return clone


def without_graph(obj):
    """Return a copy whose computed tensors are their values; leaves stay as they are.

    A graph can be neither pickled nor copied.
    """
    return map_tensors(obj, lambda tensor: tensor if tensor.is_leaf else tensor.detach())
