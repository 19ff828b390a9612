"""A stack of equal layers."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from numpyro.distributions import constraints

from .base import Compose, Transform, common_dims, context_for

__all__ = ["Scan"]

KEPT = ("conv_general_dilated", "dot_general", "scan", "while")


class Scan(Compose):
    r"""Several transforms of one structure, applied from first to last, as in :class:`Compose`.

    Parameters are stacked along a new first axis, and the layers are one loop body
    (``jax.lax.scan``), compiled once whatever the depth. In a file they keep the names that they
    have in :class:`Compose`. Reverse derivatives keep the outputs of matrix products and of inner
    loops of each layer and compute the rest again, which costs less than to keep it. To alternate
    orders or masks, make each layer a :class:`Compose` of one period.

    Args:
        transforms: at least one transform; all of equal types, shapes and settings.

    Raises:
        ValueError: if the structures differ.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import Coupling, Flip
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> layers = [Compose([Coupling(key, 3), Flip(3)]) for key in keys]
        >>> Scan(layers)(jnp.ones((5, 3))).shape
        (5, 3)
    """

    def __init__(self, transforms: Sequence[Transform]):
        transforms = list(transforms)
        Transform.__init__(self, *common_dims(transforms))
        for i, transform in enumerate(transforms):
            found, expected = _structure(transform), _structure(transforms[0])
            if found != expected:
                differing = sorted({name for name, _ in found ^ expected})
                raise ValueError(
                    "transforms must have one structure, got a difference between number 0 and "
                    f"number {i} in {', '.join(differing)}; use Compose, or make each one a "
                    "Compose of one period."
                )
        self.num_transforms = len(transforms)
        leaves = [jax.tree.leaves(transform) for transform in transforms]
        stacked = [jnp.stack(layers) for layers in zip(*leaves, strict=True)]
        self.stacked = jax.tree.unflatten(jax.tree.structure(transforms[0]), stacked)

    @property
    def transforms(self) -> tuple[Transform, ...]:
        return tuple(
            jax.tree.map(lambda leaf, i=i: leaf[i], self.stacked)
            for i in range(self.num_transforms)
        )

    @property
    def domain(self) -> constraints.Constraint:
        return self.stacked.domain

    @property
    def codomain(self) -> constraints.Constraint:
        return self.stacked.codomain

    @property
    def fast(self) -> str:
        return self.stacked.fast

    def _scan(self, method: str, point: Array, context: Array | None) -> tuple[Array, Array]:
        context = context_for(self, context)
        leading = point.shape[:-1]
        if context is not None:
            leading = jnp.broadcast_shapes(leading, context.shape[:-1])
        arrays = [leaf for leaf in jax.tree.leaves(self.stacked) if eqx.is_inexact_array(leaf)]
        dtype = jnp.result_type(point, *arrays, *([] if context is None else [context]))

        def visit(state, transform):
            point, total = state
            point, log_det = getattr(transform, method)(point, context)
            return (point.astype(dtype), (total + log_det).astype(dtype)), None

        visit = jax.checkpoint(visit, prevent_cse=False, policy=_is_kept)
        point = jnp.broadcast_to(point, leading + point.shape[-1:]).astype(dtype)
        start = (point, jnp.zeros(leading, dtype))
        return lax.scan(visit, start, self.stacked, reverse=method.startswith("inverse"))[0]

    def forward_and_log_det(self, x, context=None):
        return self._scan("forward_and_log_det", x, context)

    def inverse_and_log_det(self, y, context=None):
        return self._scan("inverse_and_log_det", y, context)


def _is_kept(primitive, *_, **__) -> bool:
    return primitive.name in KEPT


def _structure(node, path: str = "") -> set[tuple[str, str]]:
    """Return what makes two layers equal but for their parameters: pairs of name and value."""
    if eqx.is_array(node):
        return {(path, f"{node.shape} of {node.dtype}")}
    if isinstance(node, (eqx.Module, Transform)):
        found = {(path or "type", type(node).__name__)}
        for name, child in _attributes(node):
            found |= _structure(child, f"{path}.{name}".lstrip("."))
        return found
    if isinstance(node, (list, tuple)) and any(map(_holds_arrays, node)):
        parts = (_structure(child, f"{path}.{i}") for i, child in enumerate(node))
        return set().union({(path, str(len(node)))}, *parts)
    return {(path, repr(node))}


def _attributes(node) -> list[tuple[str, object]]:
    if isinstance(node, eqx.Module):
        return [(f.name, getattr(node, f.name, None)) for f in dataclasses.fields(node)]
    return [(name, value) for name, value in vars(node).items() if not name.startswith("_")]


def _holds_arrays(node) -> bool:
    return isinstance(node, (eqx.Module, Transform)) or eqx.is_array(node)
