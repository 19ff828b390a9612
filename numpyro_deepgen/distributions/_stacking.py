"""Distributions whose arrays carry leading axes that their batch shape does not know.

``jax.vmap`` over a constructor and the host's ``scan`` return such objects: every array, weights
included, is stacked. The number of dimensions of each array at construction tells the stacked
axes, and densities and samples are mapped over them.
"""

import jax
import jax.numpy as jnp
from jax import Array

__all__ = [
    "check_not_stacked",
    "leaf_ndims",
    "log_prob_of_stack",
    "sample_from_stack",
    "stack_depth",
]


def leaf_ndims(d) -> tuple[int, ...]:
    """Return the number of dimensions of every array of a distribution."""
    return tuple(jnp.ndim(leaf) for leaf in jax.tree.leaves(d))


def stack_depth(d) -> int:
    """Return the number of stacked leading axes of a distribution with a ``marker``."""
    return jnp.ndim(d.marker) - d.marker_ndim


def check_not_stacked(d, method: str, remedy: str) -> None:
    """Raise if a distribution is a stack, for a method that is of one alone."""
    if stack_depth(d):
        raise ValueError(
            f"{method} must be called on one distribution, got {jnp.shape(d.marker)} of them "
            f"stacked by jax.vmap; map over them: jax.vmap({remedy}."
        )


def log_prob_of_stack(d, value: Array) -> Array:
    """Score values of shape ``sample_shape + marker.shape + event_shape``, or broadcastable."""
    leaves, axes, rebuild = _unstack(d)
    shape = d.marker.shape
    axis = -len(shape) - len(d.event_shape)
    if shape[0] == 1:
        first = [leaf if a is None else leaf[0] for leaf, a in zip(leaves, axes, strict=True)]
        log_prob = rebuild(first).log_prob_of_slice(value)
    else:
        if jnp.ndim(value) < -axis:
            axis = None
        elif value.shape[axis] == 1:
            value, axis = jnp.squeeze(value, axis), None
        log_prob = jax.vmap(
            lambda arrays, v: rebuild(arrays).log_prob_of_slice(v),
            in_axes=(axes, axis),
            out_axes=-len(shape),
        )(leaves, value)
    return jnp.broadcast_to(log_prob, jnp.broadcast_shapes(log_prob.shape, shape))


def sample_from_stack(d, rng_key: Array, sample_shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Draw and score samples of shape ``sample_shape + marker.shape + event_shape``."""
    leaves, axes, rebuild = _unstack(d)
    shape = d.marker.shape
    return jax.vmap(
        lambda arrays, k: rebuild(arrays).sample_from_slice(k, sample_shape),
        in_axes=(axes, 0),
        out_axes=(-len(shape) - len(d.event_shape), -len(shape)),
    )(leaves, jax.random.split(rng_key, shape[0]))


def _unstack(d):
    """Return the arrays, the axis (0 or None) of each, and a function that rebuilds a slice."""
    leaves, treedef = jax.tree.flatten(d)
    depth = stack_depth(d)
    axes = [
        0 if jnp.ndim(leaf) - ndim == depth else None
        for leaf, ndim in zip(leaves, d.leaf_ndims, strict=True)
    ]
    return leaves, axes, lambda arrays: jax.tree.unflatten(treedef, arrays)
