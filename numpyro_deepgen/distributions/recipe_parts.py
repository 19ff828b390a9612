"""What the recipes of flows share: stacks of couplings, of autoregressive steps, and the end."""

from collections.abc import Callable, Sequence

import jax
from jax import Array

from .._numerics.checks import check_choice, check_positive_int
from .._numerics.masks import spread_order
from .bases import StandardNormal
from .flow import Flow
from .transforms import (
    Compose,
    Coupling,
    ElementwiseAffine,
    ElementwiseMap,
    Inverse,
    MaskedAutoregressive,
    Scan,
    Transform,
)

__all__ = [
    "autoregressive",
    "couplings",
    "end_flow",
    "grouped",
    "make_flow",
    "oriented",
    "stack",
]

# stacks at least this deep become one loop on JAX; shallower ones compile sooner without
MIN_SCAN_LENGTH = 8


def stack(
    rng_key: Array, num_transforms: int, make: Callable[[Array, int], Transform]
) -> list[Transform]:
    """Return ``[make(key_0, 0), make(key_1, 1), ...]``, checking the number."""
    count = check_positive_int("num_transforms", num_transforms)
    return [make(key, i) for i, key in enumerate(jax.random.split(rng_key, count))]


def oriented(steps: Sequence[Transform], fast: str) -> list[Transform]:
    """Orient transforms with a cheap forward direction: ``fast='sample'`` or ``'log_prob'``."""
    check_choice("fast", fast, ("log_prob", "sample"))
    return list(steps) if fast == "sample" else [Inverse(step) for step in steps]


def couplings(
    rng_key: Array,
    input_dim: int,
    make_map: Callable[[Array], ElementwiseMap],
    num_transforms: int,
    hidden_dims: Sequence[int],
    context_dim: int,
    activation: str | Callable,
) -> list[Transform]:
    """Return couplings with alternating masks, each with a map of its own."""
    masks = ("alternate", "alternate_flipped")

    def make(key, i):
        map_key, key = jax.random.split(key)
        return Coupling(
            key, input_dim, make_map(map_key), masks[i % 2], hidden_dims, context_dim, activation
        )

    return stack(rng_key, num_transforms, make)


def autoregressive(
    rng_key: Array,
    input_dim: int,
    make_map: Callable[[Array], ElementwiseMap],
    num_transforms: int,
    hidden_dims: Sequence[int],
    context_dim: int,
    activation: str | Callable,
    fast: str,
) -> list[Transform]:
    """Return autoregressive transforms, each with a map of its own.

    Their orders are a spread one, in which neighbouring columns are far apart, and its reverse, in
    turn: columns of a table often stand in groups, which the order as given would keep together.
    """
    spread = spread_order(check_positive_int("input_dim", input_dim))
    orders = (spread, spread[::-1])

    def make(key, i):
        map_key, key = jax.random.split(key)
        return MaskedAutoregressive(
            key, input_dim, make_map(map_key), hidden_dims, context_dim, orders[i % 2], activation
        )

    return oriented(stack(rng_key, num_transforms, make), fast)


def end_flow(rng_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist) -> Flow:
    """Return the flow of these steps and a location-scale layer."""
    location_scale = ElementwiseAffine(rng_key, input_dim, context_dim, hidden_dims, activation)
    return make_flow(input_dim, [grouped(steps), location_scale], base_dist)


def make_flow(input_dim: int, transforms: Sequence[Transform], base_dist) -> Flow:
    """Return the flow of these transforms, its base standard normal unless one is given."""
    return Flow(StandardNormal(input_dim) if base_dist is None else base_dist, transforms)


def grouped(steps: Sequence[Transform]) -> Compose:
    """Return the steps as one transform, which JAX compiles as a loop if there are enough."""
    return Scan(steps) if len(steps) >= MIN_SCAN_LENGTH else Compose(steps)
