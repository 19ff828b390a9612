"""Flows by their names in the literature: transforms of low rank.

Every recipe ends with a location-scale layer, which takes the context too, and starts as the
identity. Sampling is in closed form; all of them score any point as well.
"""

from collections.abc import Callable, Sequence

import jax
from jax import Array

from ..ops._random import check_rng_key
from .flow import Flow
from .recipe_parts import end_flow, stack
from .transforms import Planar, Radial, Sylvester

__all__ = ["planar", "radial", "sylvester"]


def planar(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 16,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""Planar transforms; scoring solves one scalar equation a layer.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of planar transforms.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> import jax
        >>> flow = planar(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, section 4.1.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    steps = stack(
        step_key,
        num_transforms,
        lambda key, _: Planar(key, input_dim, context_dim, hidden_dims, activation),
    )
    return end_flow(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def radial(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 16,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""Radial transforms; both directions are in closed form.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of radial transforms.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> import jax
        >>> flow = radial(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, section 4.1.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    steps = stack(
        step_key,
        num_transforms,
        lambda key, _: Radial(key, input_dim, context_dim, hidden_dims, activation),
    )
    return end_flow(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def sylvester(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 4,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    rank: int | None = None,
    kind: str = "orthogonal",
    num_reflections: int = 8,
) -> Flow:
    r"""Sylvester transforms; scoring solves one scalar equation for each of ``rank`` columns.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of Sylvester transforms.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        rank: hidden units of each transform, 1 to ``D``; default ``D``.
        kind: ``'orthogonal'``, ``'householder'`` or ``'triangular'`` (directions alternating).
        num_reflections: for ``'householder'``: number of reflections.

    Example:
        >>> import jax
        >>> flow = sylvester(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        van den Berg et al. 2018, Sylvester Normalizing Flows for Variational Inference.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))

    def make(key, i):
        return Sylvester(
            key,
            input_dim,
            rank,
            kind,
            context_dim,
            hidden_dims,
            activation,
            num_reflections,
            reverse=i % 2 == 1,
        )

    steps = stack(step_key, num_transforms, make)
    return end_flow(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)
