"""Roots of increasing scalar functions, all entries at once, with implicit gradients."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._clamp import clamp

__all__ = ["expand_bracket", "implicit_root", "monotone_root", "tanh_root"]


def monotone_root(
    fn: Callable[[Array], tuple[Array, Array]],
    lower: Array,
    upper: Array,
    max_steps: int = 200,
) -> Array:
    r"""Return the root of an increasing function inside a bracket, elementwise.

    Newton's method, safeguarded by bisection (a step is taken only inside the bracket and only if
    it is at most half as long as the last), runs without derivatives. Those of the root, in
    everything that ``fn`` closes over, are those of :func:`implicit_root`.

    Args:
        fn: maps points of the bracket's shape to ``(value, derivative)``; differentiable.
        lower: points with ``fn(lower) <= 0``, any shape.
        upper: points with ``fn(upper) >= 0``, same shape.
        max_steps: upper limit of safeguarded steps; bisection alone needs about 60 in float64.

    Returns:
        The roots, of the bracket's shape.
    """
    lower, upper = lax.stop_gradient((lower, upper))
    root = _safeguarded_newton(_without_derivatives(fn, lower), lower, upper, max_steps)
    return implicit_root(fn, root)


def implicit_root(fn: Callable[[Array], tuple[Array, Array]], root: Array) -> Array:
    r"""Return ``root`` unchanged, with the derivatives of the implicit function theorem.

    For a root :math:`x_0` of :math:`f(x, \theta)` they are
    :math:`dx_0 = -\partial_\theta f \, d\theta / \partial_x f`, exact to every order.

    Args:
        fn: maps points to ``(value, derivative)``; differentiable.
        root: points where ``fn`` is zero up to rounding, any shape.
    """
    # what fn closes over becomes an argument
    converted, closed_over = jax.closure_convert(fn, root)
    return _implicit_root(converted, lax.stop_gradient(root), closed_over)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _implicit_root(fn: Callable, root: Array, closed_over: list[Array]) -> Array:
    return root


@_implicit_root.defjvp
def _implicit_root_jvp(fn, primals, tangents):
    root, closed_over = primals
    root = _implicit_root(fn, root, closed_over)
    smallest = float(jnp.finfo(root.dtype).tiny) ** 0.5
    _, d_value, slope = jax.jvp(lambda *c: fn(root, *c), closed_over, tangents[1], has_aux=True)
    return root, -d_value / clamp(slope, smallest)


def expand_bracket(
    fn: Callable[[Array], tuple[Array, Array]], centre: Array, max_steps: int = 120
) -> tuple[Array, Array]:
    """Return a bracket of the root of an increasing function, by steps that double.

    Args:
        fn: maps points of the shape of ``centre`` to ``(value, derivative)``.
        centre: where to start, any shape; the closer to the root, the fewer steps.
        max_steps: upper limit of steps; 120 cover the range of float32.

    Returns:
        Points ``lower <= upper`` with ``fn(lower) <= 0 <= fn(upper)``, of the shape of ``centre``,
        without derivatives.
    """
    centre = lax.stop_gradient(centre)
    fn = _without_derivatives(fn, centre)

    def wrong_sides(lower, upper):
        return fn(lower)[0] > 0, fn(upper)[0] < 0

    def unfinished(state):
        count, *_, (too_high, too_low) = state
        return (count < max_steps) & jnp.any(too_high | too_low)

    def advance(state):
        count, step, lower, upper, (too_high, too_low) = state
        step = 2.0 * step
        # the end on the wrong side of the root bounds it on the other side
        lower, upper = (
            jnp.where(too_high, lower - step, jnp.where(too_low, upper, lower)),
            jnp.where(too_low, upper + step, jnp.where(too_high, lower, upper)),
        )
        return count + 1, step, lower, upper, wrong_sides(lower, upper)

    lower, upper = centre - 1.0, centre + 1.0
    start = (jnp.zeros((), jnp.int32), jnp.ones((), centre.dtype), lower, upper)
    _, _, lower, upper, _ = lax.while_loop(unfinished, advance, (*start, wrong_sides(lower, upper)))
    return lower, upper


def tanh_root(product: Array, target: Array) -> Array:
    r"""Return the solution of :math:`s + p \tanh s = t`, elementwise, for :math:`p > -1`.

    Args:
        product: ``p``, shape broadcastable to that of ``target``.
        target: ``t``, any shape.
    """

    def residual(s):
        tanh = jnp.tanh(s)
        return s + product * tanh - target, 1.0 + product * (1.0 - jnp.square(tanh))

    centre, reach = lax.stop_gradient((target, jnp.abs(product)))
    reach = reach * (1.0 + 1e-6) + 1e-6
    return monotone_root(residual, centre - reach, centre + reach)


def _without_derivatives(fn: Callable, example: Array) -> Callable:
    """Return ``fn`` with the derivatives in all that it closes over stopped."""
    converted, closed_over = jax.closure_convert(fn, example)
    closed_over = lax.stop_gradient(closed_over)
    return lambda point: converted(point, *closed_over)


def _safeguarded_newton(fn, lower: Array, upper: Array, max_steps: int) -> Array:
    tolerance = 4.0 * jnp.finfo(lower.dtype).eps

    def unfinished(state):
        step, done, *_ = state
        return (step < max_steps) & ~done

    def advance(state):
        step, _, point, moved, lower, upper = state
        value, slope = fn(point)
        lower = jnp.where(value <= 0, point, lower)
        upper = jnp.where(value >= 0, point, upper)
        proposal = point - value / slope
        usable = (proposal >= lower) & (proposal <= upper)
        usable = usable & (jnp.abs(proposal - point) <= 0.5 * moved)
        proposal = jnp.where(usable, proposal, 0.5 * (lower + upper))
        moved = jnp.abs(proposal - point)
        done = jnp.all(moved <= tolerance * (1.0 + jnp.abs(proposal)))
        return step + 1, done, proposal, moved, lower, upper

    point, moved = 0.5 * (lower + upper), upper - lower
    start = (jnp.zeros((), jnp.int32), jnp.zeros((), bool), point, moved, lower, upper)
    return lax.while_loop(unfinished, advance, start)[2]
