r"""Passes of autoregressive networks: over all positions at once, and one after another.

``module`` is an :class:`~pyro_deepgen.distributions.Autoregressive`, ``index`` the place of an
order.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ._elements import warn_of_no_step

__all__ = ["Steps", "evaluating", "params_of", "rows_of"]


def params_of(module, elements: Tensor, context: Tensor | None, index: int, keep=None) -> Tensor:
    """Return the parameters of all positions, ``(..., positions, num_params)``."""
    network = module.network
    x = module.elements.encode(elements, network)
    if keep is not None:
        x = x * keep.to(x.dtype).unsqueeze(-1)
    order, known, context = _turned(module, context, index)
    if order is not None:
        x = x.index_select(-2, order)
    x = x.reshape(x.shape[:-2] + (*network.grid_shape, x.shape[-1]))
    params = network(x, context, **known)
    params = params.flatten(-1 - len(network.grid_shape), -2)
    return params if order is None else params.index_select(-2, order.argsort())


def rows_of(array: Tensor | None, shape: torch.Size, event_dim: int) -> Tensor | None:
    """Return an array of leading shape ``shape``, its leading dimensions flattened to one."""
    if array is None:
        return None
    event_shape = array.shape[array.ndim - event_dim :]
    return array.expand(shape + event_shape).reshape((shape.numel(), *event_shape))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Have a network drop nothing: its modules are in evaluation mode meanwhile."""
    training = [part for part in network.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _turned(
    module, context: Tensor | None, index: int
) -> tuple[Tensor | None, dict, Tensor | None]:
    """Return the order in which the network is to see positions, its arguments and context."""
    network = module.network
    if module.knows_orders:
        return None, {"order_index": index}, context
    order = module.orders[index]
    if order == tuple(range(len(order))):
        return None, {}, context
    order = torch.tensor(order, device=next(network.parameters()).device)
    if context is not None and getattr(network, "context_kind", "vector") == "image":
        flat = context.flatten(-len(network.grid_shape)).index_select(-1, order)
        context = flat.reshape(context.shape)
    return order, {}, context


class Steps:
    """Parameters of one position after another, by steps of a network or by full passes.

    Args:
        module: the network and what belongs to it.
        num_rows: rows of positions.
        context: one context a row, or None.
        index: place of the order.
        keep: which positions of a row the later ones are given, ``(num_rows, positions)``, or None.
    """

    def __init__(self, module, num_rows: int, context: Tensor | None, index: int, keep=None):
        self.module, self.network, self.keep = module, module.network, keep
        self.order = module.orders[index]
        _, self.known, self.context = _turned(module, context, index)
        like = next(self.network.parameters())
        self.previous = like.new_zeros(num_rows, self.network.in_channels)
        self.has_step = hasattr(self.network, "step")
        if self.has_step:
            self.cache = self.network.init_cache(num_rows, self.context, **self.known)
        else:
            warn_of_no_step(self.network)
            size = math.prod(self.network.grid_shape)
            # where the network is given the elements, in turn
            self.places = self.order if module.knows_orders else range(size)
            self.x = like.new_zeros(num_rows, size, self.network.in_channels)

    def params(self, rank: int) -> Tensor:
        """Return the parameters of the position that is next, ``(num_rows, num_params)``."""
        if self.has_step:
            params, self.cache = self.network.step(self.cache, self.previous, rank, **self.known)
            return params
        if rank:
            self.x[:, self.places[rank - 1]] = self.previous
        x = self.x.reshape(len(self.x), *self.network.grid_shape, -1)
        with evaluating(self.network):
            params = self.network(x, self.context, **self.known)
        return params.flatten(1, -2)[:, self.places[rank]]

    def give(self, value: Tensor, rank: int) -> None:
        """Hand over the elements of that position, ``(num_rows, *element shape)``."""
        self.previous = self.module.elements.encode(value, self.network)
        if self.keep is not None:
            keep = self.keep[:, self.order[rank]].to(self.previous.dtype)
            self.previous = self.previous * keep.unsqueeze(-1)
