"""A stack of layers that repeat."""

import dataclasses
from collections.abc import Sequence
from itertools import islice

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from numpyro.distributions import constraints

from ..._numerics.periods import check_period
from ._alignment import align, orders_of, undoing
from ._partition import take
from ._sequence import apply_in_turn, context_for
from .base import Compose, Transform, common_dims

__all__ = ["Scan"]

# what costs more to compute again than to keep; products of matrices are not among it
KEPT = ("cond", "scan", "while")


class Scan(Compose):
    r"""Several transforms of one structure, applied from first to last, as in :class:`Compose`.

    The structures may also repeat with a period; layers behind the last whole period are allowed.
    Parameters are stacked along a new first axis, and the period is one loop body
    (``jax.lax.scan``), compiled once whatever the depth. Layers that are alike up to the order of
    their inputs, as couplings with alternating masks and an even number of inputs are, become one
    body with a permutation behind it. In a file parameters keep the names and the values that they
    have in :class:`Compose`. Reverse derivatives keep the input of
    each period and the outcome of inner loops, and compute the rest again, which costs less than to
    keep it.

    Args:
        transforms: at least one transform; types, shapes and settings must repeat.

    Raises:
        ValueError: if nothing repeats.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import Coupling
        >>> keys = jax.random.split(jax.random.key(0), 8)
        >>> masks = ["alternate", "alternate_flipped"] * 4
        >>> layers = [Coupling(key, 3, mask=mask) for key, mask in zip(keys, masks)]
        >>> Scan(layers)(jnp.ones((5, 3))).shape
        (5, 3)
    """

    def __init__(self, transforms: Sequence[Transform]):
        transforms = list(transforms)
        Transform.__init__(self, *common_dims(transforms))
        period = check_period([_structure(transform) for transform in transforms])
        # the inputs as the first layer takes them, and those of each layer in terms of the last's
        self.order, self.turn, transforms = align(transforms, _structure)
        period = period if self.order is None else 1
        self.num_periods = len(transforms) // period
        whole = self.num_periods * period
        self.stacked = tuple(_stack(transforms[phase:whole:period]) for phase in range(period))
        self.rest = tuple(transforms[whole:])

    @property
    def transforms(self) -> tuple[Transform, ...]:
        layers = [
            jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
            for i in range(self.num_periods)
            for stacked in self.stacked
        ]
        if self.order is not None:
            layers = [
                layer.reordered(undoing(order))
                for layer, order in zip(layers, orders_of(self.order, self.turn), strict=False)
            ]
        return (*layers, *self.rest)

    @property
    def domain(self) -> constraints.Constraint:
        return self.stacked[0].domain

    @property
    def codomain(self) -> constraints.Constraint:
        return (*self.stacked, *self.rest)[-1].codomain

    @property
    def fast(self) -> str:
        sides = {transform.fast for transform in self.stacked} - {"both"}
        return sides.pop() if len(sides) == 1 else "both"

    def _loop(self, inverse: bool, point: Array, context: Array | None) -> tuple[Array, Array]:
        """Apply the whole periods to inputs in the order of the first layer that is applied."""
        context = context_for(self, context)
        leading = point.shape[:-1]
        if context is not None:
            leading = jnp.broadcast_shapes(leading, context.shape[:-1])
        arrays = [leaf for leaf in jax.tree.leaves(self.stacked) if eqx.is_inexact_array(leaf)]
        dtype = jnp.result_type(point, *arrays, *([] if context is None else [context]))

        def visit(state, transforms):
            point, total = state
            if inverse:
                point = take(point, undoing(self.turn))
            steps = [transform.oriented(inverse) for transform in transforms]
            point, log_det = apply_in_turn(steps[::-1] if inverse else steps, point, context)
            if not inverse:
                point = take(point, self.turn)
            return (point.astype(dtype), (total + log_det).astype(dtype)), None

        point = jnp.broadcast_to(point, leading + point.shape[-1:]).astype(dtype)
        state = (point, jnp.zeros(leading, dtype))
        if self.num_periods == 1:
            return visit(state, jax.tree.map(lambda leaf: leaf[0], self.stacked))[0]
        visit = jax.checkpoint(visit, prevent_cse=False, policy=_is_kept)
        return lax.scan(visit, state, self.stacked, reverse=inverse)[0]

    def _apply_loop(self, inverse: bool, point: Array, context: Array | None):
        """Apply the whole periods to inputs in the order of this transform."""
        if self.order is None:
            return self._loop(inverse, point, context)
        last = next(islice(orders_of(self.order, self.turn), self.num_periods, None))
        first, last = (last, self.order) if inverse else (self.order, last)
        point, log_det = self._loop(inverse, take(point, first), context)
        return take(point, undoing(last)), log_det

    def forward_and_log_det(self, x, context=None):
        x, log_det = self._apply_loop(False, x, context)
        steps = [transform.oriented(inverse=False) for transform in self.rest]
        y, of_rest = apply_in_turn(steps, x, context)
        return y, log_det + of_rest

    def inverse_and_log_det(self, y, context=None):
        steps = [transform.oriented(inverse=True) for transform in reversed(self.rest)]
        y, of_rest = apply_in_turn(steps, y, context)
        x, log_det = self._apply_loop(True, y, context)
        return x, log_det + of_rest


def _stack(transforms: Sequence[Transform]) -> Transform:
    """Return one transform that holds the arrays of several, stacked."""
    leaves = [jax.tree.leaves(transform) for transform in transforms]
    stacked = [jnp.stack(layers) for layers in zip(*leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(transforms[0]), stacked)


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
