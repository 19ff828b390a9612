r"""The contract of networks that go through the positions of a grid in raster order.

Inputs are ``(..., *grid_shape, in_channels)``, what is known of every position; parameters are
``(..., *grid_shape, num_params)``. Those of a position depend on earlier positions alone. A network
with an attribute ``orders``, a tuple of permutations, goes in these instead, and takes which one as
``order_index``.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int
from .._numerics.contexts import (
    check_context_kind,
    check_grid_context,
    check_labels,
    context_event_shape,
)
from ..ops._modes import is_eager

__all__ = ["AutoregressiveNetwork", "as_context"]


class AutoregressiveNetwork(nn.Module):
    r"""Base class: leading shapes and contexts, once for all networks.

    A subclass writes :meth:`run`, all positions at once, and, if it can,

    - ``init_cache(num_rows, context)``: what is kept from step to step, a dictionary;
    - ``step(cache, previous, index)``: the parameters ``(num_rows, num_params)`` of the position
      ``index`` and the new cache, given the inputs ``(num_rows, in_channels)`` of the position
      before it (zeros at the first one). Both without a graph.

    Args:
        grid_shape: shape of the grid.
        num_params: parameters of one position.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, shape ``(..., context_dim)``; ``'label'``, integers below
            ``context_dim`` of shape ``(...)``; or ``'image'``, shape
            ``(..., context_dim, *grid_shape)``. Labels may be Python's integers and NumPy's. One
            outside the range is an error; where a transformation of the host hides its value
            (``torch.func.vmap``, ``torch.compile``) or validation is off, all parameters are NaN.

    Raises:
        ValueError: if a size or the kind is out of range.
    """

    def __init__(
        self,
        grid_shape: Sequence[int],
        num_params: int = 1,
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
    ):
        super().__init__()
        self.grid_shape = check_dims("grid_shape", grid_shape)
        if not self.grid_shape:
            raise ValueError("grid_shape must have at least one axis, got (); pass (28, 28), say.")
        self.num_params = check_positive_int("num_params", num_params)
        self.in_channels = check_positive_int("in_channels", in_channels)
        self.context_dim, self.context_kind = check_context_kind(context_dim, context_kind)

    @property
    def num_positions(self) -> int:
        return math.prod(self.grid_shape)

    @property
    def context_shape(self) -> tuple[int, ...]:
        """Shape of one context."""
        return context_event_shape(self.context_dim, self.context_kind, self.grid_shape)

    def run(self, x: Tensor, features: Tensor | None) -> Tensor:
        """Return the parameters of all positions of rows ``(N, *grid_shape, in_channels)``."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None, **kwargs) -> Tensor:
        event_shape = (*self.grid_shape, self.in_channels)
        if tuple(x.shape[x.ndim - len(event_shape) :]) != event_shape:
            raise ValueError(
                f"x must have shape (...) + {event_shape}, got {tuple(x.shape)}; see grid_shape "
                "and in_channels of the network."
            )
        leading = x.shape[: x.ndim - len(event_shape)]
        features = self.features(context)
        if features is not None:
            event = features.shape[-len(event_shape) :]
            leading = torch.broadcast_shapes(leading, features.shape[: -len(event_shape)])
            features = in_rows(features.expand(leading + event), len(event))
        x = in_rows(x.expand(leading + event_shape), len(event_shape))
        params = self.run(x, features, **kwargs)[: math.prod(leading)]
        return params.reshape(leading + self.grid_shape + (self.num_params,))

    def features(self, context: Tensor | None) -> Tensor | None:
        """Return a context with one place for every axis of the grid, channels last."""
        context = as_context(context, self)
        check_grid_context(
            None if context is None else context.shape, self.context_dim, self.context_shape
        )
        if context is None:
            return None
        if self.context_kind == "image":
            return context.movedim(-1 - len(self.grid_shape), -1)
        if self.context_kind == "label":
            classes = torch.arange(self.context_dim, device=context.device)
            context = (context.unsqueeze(-1) == classes).to(next(self.parameters()).dtype)
            # what is no label matches none of them
            context = context.where(context.any(-1, keepdim=True), torch.nan)
        return context.reshape(
            context.shape[:-1] + (1,) * len(self.grid_shape) + context.shape[-1:]
        )

    def features_in_turn(self, context: Tensor | None) -> Tensor | None:
        """Return what a cache keeps of a context: ``(positions or 1, N, context_dim)``."""
        features = self.features(context)
        return None if features is None else features.flatten(1, -2).transpose(0, 1)


def in_rows(array: Tensor, event_dim: int) -> Tensor:
    """Make the leading dimensions one; of none at all one row of zeros, which parameters see."""
    leading = array.ndim - event_dim
    rows = array.reshape((math.prod(array.shape[:leading]), *array.shape[leading:]))
    return rows if len(rows) else rows.new_zeros((1, *rows.shape[1:]))


def as_context(context, network: nn.Module) -> Tensor | None:
    """Return a context as a tensor in the precision of a network, a label as it is.

    Labels are checked where their values are known and the host validates arguments.
    """
    if context is None:
        return None
    like = next(network.parameters())
    if not isinstance(context, Tensor):
        context = torch.as_tensor(context, device=like.device)
    if getattr(network, "context_kind", "vector") != "label":
        return context.to(like.dtype)
    if torch.distributions.Distribution._validate_args and is_eager():
        check_labels(context.numpy(force=True), network.context_dim)
    return context


def plus_positions(h: Tensor, positions: Tensor | None, index: int | None = None) -> Tensor:
    """Add the vectors of all positions, or that of one, to features."""
    if positions is None:
        return h
    return h + (positions if index is None else positions.flatten(0, -2)[index])


def at(features: Tensor | None, index: int) -> Tensor | None:
    """Return the features of one position from those of a cache."""
    if features is None:
        return None
    return features[index if len(features) > 1 else 0]


def whole(layer: Callable, h: Tensor, lag: int = 0) -> Tensor:
    """Apply a causal layer to all positions at once."""
    return layer(h)


class Stepper:
    """Applies causal layers at one position, each with its own part of a cache, in turn."""

    def __init__(self, buffers: Sequence, index: int):
        self.buffers, self.index, self.done = buffers, index, []

    def __call__(self, layer: Callable, h: Tensor, lag: int = 0) -> Tensor:
        y, buffer = layer.step(self.buffers[len(self.done)], h, self.index, lag)
        self.done.append(buffer)
        return y
