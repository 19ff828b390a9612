"""Any optimiser of optax with a rate set from outside, clipped by the global norm."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ._policies import ALL, GUIDE, MODEL

__all__ = ["RatedState", "rated"]


class RatedState(NamedTuple):
    """State of :func:`rated`.

    Attributes:
        rate: learning rate of the next update, to be set before it.
        norm: Euclidean norm of all gradients of the last update.
        inner: state of the optimiser, or one for the guide and one for the model.
        turn: whose parameters the next update moves, or None where all move always.
    """

    rate: Array
    norm: Array
    inner: Any
    turn: Array | None = None


def rated(
    factory: Callable, clip_norm: float | None, guide_names: frozenset[str] | None = None
) -> optax.GradientTransformationExtraArgs:
    """An optimiser whose learning rate is a part of its state.

    Args:
        factory: function of the rate that gives a ``optax.GradientTransformation``.
        clip_norm: largest norm of the gradients, or None.
        guide_names: names of the parameters of the guide where those and the others take turns.
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
        if guide_names is None:
            return RatedState(zero, zero, build(zero).init(params))
        inner = tuple(build(zero).init(part) for part in _split(params, guide_names))
        return RatedState(zero, zero, inner, jnp.array(ALL))

    def update(updates, state, params=None, **extra):
        if guide_names is not None:
            return _update_in_turn(build(state.rate), updates, state, params, guide_names)
        norm = _norm(updates).astype(state.norm.dtype)
        updates, inner = build(state.rate).update(updates, state.inner, params, **extra)
        return updates, RatedState(state.rate, norm, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _update_in_turn(optimizer, updates: dict, state: RatedState, params, guide_names):
    """Move the parameters whose turn it is; the others and their state stay."""
    found, inner, norm = {}, [], jnp.zeros_like(state.norm)
    parts = zip(
        (MODEL, GUIDE),
        _split(updates, guide_names),
        _split(params, guide_names),
        state.inner,
        strict=True,
    )
    for absent, part, values, old in parts:
        moves = state.turn != absent
        moved, new = optimizer.update(part, old, values)
        norm = norm + jnp.where(moves, _norm(part), 0.0).astype(norm.dtype)
        found |= jax.tree.map(lambda u, on=moves: jnp.where(on, u, jnp.zeros_like(u)), moved)
        inner.append(jax.tree.map(lambda a, b, on=moves: jnp.where(on, a, b), new, old))
    # one of two norms is zero while turns are taken
    both = state.turn == ALL
    norm = jnp.where(both, _norm(updates).astype(norm.dtype), norm)
    return found, RatedState(state.rate, norm, tuple(inner), state.turn)


def _split(params: dict, guide_names: frozenset[str]) -> tuple[dict, dict]:
    """The parameters of the guide, and the others."""
    guide = {name: value for name, value in params.items() if name in guide_names}
    return guide, {name: value for name, value in params.items() if name not in guide_names}


def _norm(tree) -> Array:
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum((jnp.vdot(leaf, leaf) for leaf in leaves), jnp.zeros(())))
