"""What autoregressive distributions are given: places of orders, shapes, and known entries."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "check_expanded_shape",
    "check_no_order",
    "check_order_index",
    "check_value_shape",
    "check_values_shape",
    "come_first",
    "common_batch_shape",
    "given_positions",
]

Shape = Sequence[int]


def check_no_order(order: Any, network: Any) -> None:
    """Raise if an order is given beside a network that brings its own."""
    if order is not None:
        name = type(network).__name__
        raise ValueError(
            f"order must be None for {name}, a network that brings its own orders, got {order!r}; "
            "leave it out, and build the network with its orders."
        )


def check_order_index(value: Any, num_orders: int) -> int | None:
    """Return the place of an order as an int, or None for all of them, or raise."""
    if value is None:
        return None
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        index = operator.index(value)
    except TypeError:
        raise TypeError(
            f"order_index must be an integer or None, got {value!r}; pass one below {num_orders}, "
            "or None for all orders."
        ) from None
    if not 0 <= index < num_orders:
        raise ValueError(
            f"order_index must be at least 0 and below {num_orders}, the number of orders, got "
            f"{index}; pass the place of an order, or None for all orders."
        )
    return index


def common_batch_shape(**shapes: Shape) -> tuple[int, ...]:
    """Return the batch shape of arguments by name, or raise if they do not broadcast."""
    try:
        return np.broadcast_shapes(*map(tuple, shapes.values()))
    except ValueError:
        found = " and ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"{' and '.join(shapes)} must have batch shapes that broadcast with each other, got "
            f"{found}; pass arrays of the same batch shape."
        ) from None


def check_value_shape(shape: Shape, batch_shape: Shape, event_shape: Shape) -> tuple[int, ...]:
    """Return the shape of the density of a value, or raise if its own does not fit."""
    shape, batch_shape, event_shape = tuple(shape), tuple(batch_shape), tuple(event_shape)
    leading = len(shape) - len(event_shape)
    if leading < 0 or shape[leading:] != event_shape:
        raise ValueError(
            f"value must have shape (...) + {event_shape}, got {shape}; see event_shape of the "
            "distribution."
        )
    if not broadcasts(shape[:leading], batch_shape):
        raise ValueError(
            f"value must have leading dimensions that broadcast with {batch_shape}, got shape "
            f"{shape}; see batch_shape of the distribution."
        )
    return np.broadcast_shapes(shape[:leading], batch_shape)


def check_expanded_shape(shape: Shape, batch_shape: Shape) -> tuple[int, ...]:
    """Return the batch shape to which one is expanded, or raise if it does not fit."""
    shape, batch_shape = tuple(shape), tuple(batch_shape)
    if not broadcasts_to(batch_shape, shape):
        raise ValueError(
            f"batch_shape must be one to which {batch_shape} broadcasts, got {shape}; keep its "
            "entries other than one, and add dimensions in front."
        )
    return shape


def given_positions(mask: Any, event_shape: Shape, element_dim: int) -> np.ndarray:
    """Return which positions are given, from booleans of the event shape.

    Args:
        mask: booleans of a shape that broadcasts to the event shape.
        event_shape: shape of an event, the axes of an element first.
        element_dim: number of axes of an element.
    """
    mask, event_shape = np.asarray(mask), tuple(event_shape)
    if not broadcasts_to(mask.shape, event_shape):
        raise ValueError(
            f"mask must have shape {event_shape}, or one that broadcasts to it, got {mask.shape}; "
            "pass True where an entry of an event is given."
        )
    mask = np.broadcast_to(mask.astype(bool), event_shape)
    mask = mask.reshape(math.prod(event_shape[:element_dim]), -1)
    if (mask.any(0) != mask.all(0)).any():
        raise ValueError(
            "mask must hold all channels of a position or none, got some; give whole positions."
        )
    return mask.all(0)


def check_values_shape(shape: Shape, batch_shape: Shape, event_shape: Shape) -> None:
    """Raise unless given values of ``shape`` broadcast to a batch of events."""
    whole = tuple(batch_shape) + tuple(event_shape)
    if not broadcasts_to(tuple(shape), whole):
        raise ValueError(
            f"values must have shape {whole}, or one that broadcasts to it, got {tuple(shape)}; "
            "pass whole events, with anything where the mask is False."
        )


def come_first(is_given: np.ndarray, orders: Sequence[Sequence[int]]) -> bool:
    """Whether the given positions come before all others in every one of some orders."""
    return all((np.diff(is_given[list(order)].astype(int)) <= 0).all() for order in orders)


def broadcasts(first: Shape, second: Shape) -> bool:
    """Whether two shapes broadcast with each other."""
    try:
        np.broadcast_shapes(tuple(first), tuple(second))
    except ValueError:
        return False
    return True


def broadcasts_to(shape: Shape, target: Shape) -> bool:
    """Whether a shape broadcasts to another."""
    return broadcasts(shape, target) and np.broadcast_shapes(shape, target) == tuple(target)
