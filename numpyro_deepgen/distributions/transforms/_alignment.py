"""Layers that are alike up to the order of their inputs.

A coupling with its mask flipped, or an autoregressive transform that visits its inputs backwards,
is the same transform of inputs in another order. With every layer in its own order, what turns the
inputs of one layer into those of the next is a permutation; where it is always the same, the layers
are one body of a loop, with that permutation behind it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

__all__ = ["align", "orders_of", "undoing"]

Order = tuple[int, ...]


def align(transforms: Sequence, structure: Callable) -> tuple[Order | None, Order | None, list]:
    """Return the order of the first layer, the turn between layers, and the layers in their orders.

    The orders are None, and the layers as given, unless that makes all of one structure.

    Args:
        transforms: the layers.
        structure: function that returns what makes two layers equal but for their parameters.
    """
    transforms = list(transforms)
    unchanged = (None, None, transforms)
    orders = [transform.own_order for transform in transforms]
    if None in orders or len(set(orders)) == 1:
        return unchanged
    turn = tuple(orders[0].index(i) for i in orders[1])
    if orders != list(islice(orders_of(orders[0], turn), len(orders))):
        return unchanged
    aligned = [t.reordered(order) for t, order in zip(transforms, orders, strict=True)]
    first = structure(aligned[0])
    if any(structure(transform) != first for transform in aligned):
        return unchanged
    return orders[0], turn, aligned


def orders_of(order: Order, turn: Order) -> Iterator[Order]:
    """Yield the order of the first layer, of the second one, and so on."""
    while True:
        yield order
        order = tuple(order[i] for i in turn)


def undoing(order: Order | None) -> Order | None:
    """Return the order that undoes another."""
    return order and tuple(sorted(range(len(order)), key=order.__getitem__))
