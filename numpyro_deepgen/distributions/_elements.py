"""Elements of an event: one after another along an axis, and as inputs of a network."""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from weakref import WeakSet

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import constraints

from .._numerics.autoregressive import check_order_index
from .._numerics.checks import check_dims
from .._numerics.contexts import check_grid_context
from ..nn.autoregressive_network import as_context
from .conditionals import Conditional

__all__ = [
    "Elements",
    "check_conditional",
    "check_context",
    "check_event_shape",
    "check_has_noise",
    "check_keep",
    "elements_of",
    "grid_of",
    "in_channels",
    "integer_bounds",
    "known_order_index",
    "warn_of_no_step",
]


def check_conditional(conditional: Conditional) -> Conditional:
    """Return a conditional, or raise if it is none."""
    if not isinstance(conditional, Conditional):
        raise TypeError(
            f"conditional must be a Conditional, got {conditional!r}; pass for example "
            "BernoulliConditional()."
        )
    return conditional


def check_event_shape(network, conditional: Conditional, event_shape: Sequence[int]):
    """Return the event shape, if network and conditional fit it and each other."""
    event_shape = check_dims("event_shape", event_shape)
    element, size = tuple(check_conditional(conditional).event_shape), math.prod(network.grid_shape)
    if event_shape[: len(element)] != element or math.prod(event_shape) != size * math.prod(
        element
    ):
        raise ValueError(
            f"event_shape must be {element} followed by a shape of {size} positions, got "
            f"{event_shape}; see grid_shape of the network and event_shape of the conditional."
        )
    if network.num_params != conditional.num_params:
        raise ValueError(
            f"network must have num_params={conditional.num_params}, those of the conditional, "
            f"got {network.num_params}; build it with them."
        )
    return event_shape


_warned: WeakSet[type] = WeakSet()


def warn_of_no_step(network) -> None:
    """Warn that a network cannot go step by step, once for its class."""
    kind = type(network)
    if kind not in _warned:
        warnings.warn(
            f"{kind.__name__} has no step: every position of a sample takes a full pass. Give the "
            "network init_cache and step.",
            stacklevel=2,
        )
        _warned.add(kind)


def check_keep(keep: Array | None, module) -> Array | None:
    """Return which elements later ones see, if there is one entry a position."""
    size = math.prod(module.network.grid_shape)
    if keep is not None and (keep.ndim < 1 or keep.shape[-1] != size):
        raise ValueError(
            f"keep must have shape batch_shape + ({size},), one entry a position, got "
            f"{tuple(keep.shape)}; flatten the positions."
        )
    return keep


def check_context(context: Array | None, module) -> Array | None:
    """Return a context in the precision of the network, a label as it is, or raise."""
    network = module.network
    shape = None if context is None else np.shape(context)
    check_grid_context(shape, network.context_dim, network.context_shape)
    context = as_context(context, network)
    if context is None or getattr(network, "context_kind", "vector") == "label":
        return context
    return context.astype(module.dtype)


def known_order_index(value, module) -> int | Array | None:
    """Return the place of an order, checked where its value is known, or None for all."""
    if not isinstance(value, jax.core.Tracer):
        return check_order_index(value, len(module.orders))
    if not module.knows_orders:
        raise TypeError(
            "order_index must have a known value for a network without orders of its own, got a "
            "traced array; pass an integer, or use MADE with these orders."
        )
    return value


def check_has_noise(conditional: Conditional) -> None:
    """Raise unless a conditional maps normal noise to its values."""
    support = support_of(conditional)
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if support is not constraints.real:
        raise TypeError(
            f"conditional must be one of real numbers for a transform, got {conditional!r}; use "
            "sample and log_prob of the distribution, or NormalConditional(), say, for real data."
        )
    if conditional.event_shape and type(conditional).to_noise is Conditional.to_noise:
        raise TypeError(
            f"conditional must be one of numbers or a normal vector for a transform, got "
            f"{conditional!r}; use sample and log_prob of the distribution, or a conditional of "
            "one number."
        )


def support_of(conditional: Conditional) -> constraints.Constraint:
    """Return the support of an element, the same for all parameters."""
    with jax.ensure_compile_time_eval():
        return conditional(jnp.zeros(conditional.num_params)).support


def integer_bounds(conditional: Conditional) -> tuple[int, int] | None:
    """Return the least and the greatest value of an element of integers, else None."""
    support = support_of(conditional)
    if not support.is_discrete:
        return None
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if not hasattr(support, "upper_bound"):
        return None
    return int(support.lower_bound), int(support.upper_bound)


def in_channels(conditional: Conditional, one_hot: bool) -> int:
    """Return how many numbers of an element a network is given."""
    bounds = integer_bounds(conditional)
    if one_hot and bounds and not conditional.event_shape:
        return bounds[1] - bounds[0] + 1
    return math.prod(conditional.event_shape)


def grid_of(event_shape: Sequence[int], conditional: Conditional) -> tuple[int, ...]:
    """Return the axes of an event behind those of an element, or raise if these do not fit."""
    event_shape = check_dims("event_shape", event_shape)
    element = tuple(check_conditional(conditional).event_shape)
    if event_shape[: len(element)] != element:
        raise ValueError(
            f"event_shape must be {element}, that of the conditional, followed by the shape of the "
            f"grid, got {event_shape}; pass for example {(*element, 28, 28)}."
        )
    return event_shape[len(element) :]


class Elements:
    """How an event falls into elements, and how these enter a network.

    Args:
        conditional: the distribution of one element.
        event_shape: shape of an event, the axes of an element first.
        in_channels: numbers of one element that the network takes.
    """

    def __init__(self, conditional: Conditional, event_shape: tuple[int, ...], in_channels: int):
        self.event_shape, self.shape = event_shape, tuple(conditional.event_shape)
        self.ndim = 1 + len(self.shape)
        self.support = support_of(conditional)
        self.bounds = integer_bounds(conditional)
        size = math.prod(self.shape)
        self.num_positions = math.prod(event_shape) // size
        count = self.bounds[1] - self.bounds[0] + 1 if self.bounds else 0
        self.is_one_hot = in_channels != size and not self.shape and in_channels == count
        if in_channels != size and not self.is_one_hot:
            raise ValueError(
                f"network must have in_channels={size}"
                + (f" or {count}" if count and not self.shape else "")
                + f" for elements of shape {self.shape}, got {in_channels}; build it with these."
            )

    def split(self, value: Array) -> Array:
        """Turn ``(..., *event_shape)`` into ``(..., positions, *element shape)``."""
        leading = value.shape[: value.ndim - len(self.event_shape)]
        value = value.reshape(leading + self.shape + (self.num_positions,))
        return jnp.moveaxis(value, -2, -1) if self.shape else value

    def join(self, elements: Array) -> Array:
        """Turn ``(..., positions, *element shape)`` into ``(..., *event_shape)``."""
        leading = elements.shape[: elements.ndim - self.ndim]
        if self.shape:
            elements = jnp.moveaxis(elements, -1, -2)
        return elements.reshape(leading + self.event_shape)

    def encode(self, elements: Array, dtype) -> Array:
        """Turn elements ``(..., *element shape)`` into inputs ``(..., in_channels)``."""
        if self.is_one_hot:
            places = jnp.asarray(elements, int) - self.bounds[0]
            return jax.nn.one_hot(places, self.bounds[1] - self.bounds[0] + 1, dtype=dtype)
        x = jnp.asarray(elements, dtype)
        if self.bounds is not None and self.bounds[1] - self.bounds[0] > 1:
            low, high = self.bounds
            x = (2.0 * x - low - high) / (high - low)
        return x if self.shape else x[..., None]


elements_of = lru_cache(maxsize=128)(Elements)
