"""Roots of increasing scalar functions, all entries at once, with implicit gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["monotone_root"]


def monotone_root(
    fn: Callable[[Array], tuple[Array, Array]],
    lower: Array,
    upper: Array,
    max_steps: int = 200,
) -> Array:
    r"""Return the root of an increasing function inside a bracket, elementwise.

    Newton's method, safeguarded by bisection, runs without derivatives. Two further Newton steps
    are then taken with them: by the implicit function theorem they give the derivatives of the root
    in everything that ``fn`` closes over, exact to second order.

    Args:
        fn: maps points of the bracket's shape to ``(value, derivative)``; differentiable.
        lower: points with ``fn(lower) <= 0``, any shape.
        upper: points with ``fn(upper) >= 0``, same shape.
        max_steps: upper limit of safeguarded steps; bisection alone needs about 60 in float64.

    Returns:
        The roots, of the bracket's shape.
    """
    lower, upper = lax.stop_gradient((lower, upper))
    # what fn closes over becomes an argument, so that its derivatives can be stopped in the loop
    converted, closed_over = jax.closure_convert(fn, lower)
    closed_over = lax.stop_gradient(closed_over)
    root = _safeguarded_newton(lambda s: converted(s, *closed_over), lower, upper, max_steps)
    root = lax.stop_gradient(root)
    for _ in range(2):
        value, slope = fn(root)
        root = root - value / slope
    return root


def _safeguarded_newton(fn, lower: Array, upper: Array, max_steps: int) -> Array:
    tolerance = 4.0 * jnp.finfo(lower.dtype).eps

    def unfinished(state):
        step, done, *_ = state
        return (step < max_steps) & ~done

    def advance(state):
        step, _, point, lower, upper = state
        value, slope = fn(point)
        lower = jnp.where(value <= 0, point, lower)
        upper = jnp.where(value >= 0, point, upper)
        proposal = point - value / slope
        usable = (proposal >= lower) & (proposal <= upper)
        proposal = jnp.where(usable, proposal, 0.5 * (lower + upper))
        moved = jnp.abs(proposal - point)
        done = jnp.all(moved <= tolerance * (1.0 + jnp.abs(proposal)))
        return step + 1, done, proposal, lower, upper

    start = (jnp.zeros((), jnp.int32), jnp.zeros((), bool), 0.5 * (lower + upper), lower, upper)
    return lax.while_loop(unfinished, advance, start)[2]
