"""Any optimiser of optax with a rate set from outside, clipped by the global norm."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

__all__ = ["RatedState", "rated"]


class RatedState(NamedTuple):
    """State of :func:`rated`.

    Attributes:
        rate: learning rate of the next update, to be set before it.
        norm: Euclidean norm of all gradients of the last update.
        inner: state of the optimiser.
    """

    rate: Array
    norm: Array
    inner: Any


def rated(factory: Callable, clip_norm: float | None) -> optax.GradientTransformationExtraArgs:
    """An optimiser whose learning rate is a part of its state.

    Args:
        factory: function of the rate that gives a ``optax.GradientTransformation``.
        clip_norm: largest norm of the gradients, or None.
    """

    def build(rate) -> optax.GradientTransformationExtraArgs:
        optimizer = factory(rate)
        if not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(
                "optimizer must give an optimiser of the host's framework, got "
                f"{type(optimizer).__name__}; pass for example its Adam."
            )
        if clip_norm is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
        return optax.with_extra_args_support(optimizer)

    def init(params):
        zero = jnp.zeros((), jnp.result_type(float, *jax.tree.leaves(params)))
        return RatedState(zero, zero, build(zero).init(params))

    def update(updates, state, params=None, **extra):
        squares = (jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(updates))
        norm = jnp.sqrt(sum(squares)).astype(state.norm.dtype)
        updates, inner = build(state.rate).update(updates, state.inner, params, **extra)
        return updates, RatedState(state.rate, norm, inner)

    return optax.GradientTransformationExtraArgs(init, update)
