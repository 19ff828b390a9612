r"""Limited-memory BFGS ascent of a log density, and its estimate of the inverse Hessian.

With pairs of steps :math:`s` and gradient changes :math:`z` of :math:`-\log p`, each pair scaled to
:math:`s^T z = 1`, and a diagonal :math:`\alpha`, the estimate is

.. math::
    \Sigma = \mathrm{diag}(\alpha) + \beta \gamma \beta^T, \qquad
    \beta = (\mathrm{diag}(\alpha) Z, S), \qquad
    \gamma = \begin{pmatrix} 0 & -R^{-1} \\
        -R^{-T} & R^{-T} (I + Z^T \mathrm{diag}(\alpha) Z) R^{-1} \end{pmatrix},

``R`` the upper triangle of :math:`S^T Z`. The line search is nearly exact, so that on a Gaussian
the estimate is exact after as many steps as there are dimensions, if that many pairs are kept.
The whole ascent is one loop on the device with one evaluation of the gradient in its program.

References:
    Zhang, Carpenter, Gelman & Vehtari (2022), Pathfinder: parallel quasi-Newton variational
    inference, algorithms 2-3; Byrd, Nocedal & Schnabel (1994), equation 3.1; Gilbert & Lemarechal
    (1989), Some numerical experiments with variable-storage quasi-Newton algorithms, equation 4.9;
    Nocedal & Wright (2006), Numerical optimization, algorithms 3.5-3.6.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

__all__ = ["InverseHessian", "PathPoint", "ascent", "start_point"]

MAX_STEPS = 200
FULL_MEMORY_DIM, HISTORY = 100, 30
MAX_TRIALS = 20
ARMIJO, CURVATURE = 1e-4, 1e-2
MIN_CURVATURE = 1e-12


class InverseHessian(NamedTuple):
    """The estimate: ``alpha`` of shape ``(D,)``, ``steps`` and ``changes`` of shape ``(J, D)``.

    Unused pairs are zero.
    """

    alpha: Array
    steps: Array
    changes: Array

    def factors(self) -> tuple[Array, Array]:
        """Return the transpose of ``beta``, shape ``(2 J, D)``, and ``gamma``, ``(2 J, 2 J)``."""
        weighted = self.changes * self.alpha
        identity = jnp.eye(len(self.steps), dtype=self.alpha.dtype)
        upper = jnp.triu(self.steps @ self.changes.mT, 1) + identity
        inverse = solve_triangular(upper, identity, lower=False)
        corner = inverse.mT @ (identity + weighted @ self.changes.mT) @ inverse
        gamma = jnp.block([[jnp.zeros_like(inverse), -inverse], [-inverse.mT, corner]])
        return jnp.concatenate([weighted, self.steps]), gamma

    def product(self, vector: Array) -> Array:
        """Return the estimate times a vector of shape ``(D,)``."""
        beta, gamma = self.factors()
        return self.alpha * vector + (gamma @ (beta @ vector)) @ beta

    def update(self, step: Array, change: Array) -> "InverseHessian":
        """Add a pair, unless its curvature is not positive."""
        curvature = step @ change
        positive = curvature > MIN_CURVATURE * (change @ change)
        factor = lax.rsqrt(jnp.where(positive, curvature, 1.0))
        step, change = step * factor, change * factor
        # Gilbert & Lemarechal, equation 4.9, where s^T z = 1
        a, c = change @ (self.alpha * change), step @ (step / self.alpha)
        alpha = 1.0 / (a / self.alpha + change**2 - (a / c) * (step / self.alpha) ** 2)
        usable = (jnp.isfinite(alpha) & (alpha > 0)).all()
        updated = InverseHessian(
            jnp.where(usable, alpha, self.alpha),
            jnp.concatenate([self.steps[1:], step[None]]),
            jnp.concatenate([self.changes[1:], change[None]]),
        )
        return _choose(positive, updated, self)


class PathPoint(NamedTuple):
    """A point of the path: its negative log density, the gradient of that, and the estimate.

    ``direction`` is minus the estimate times the gradient.
    """

    point: Array
    value: Array
    grad: Array
    estimate: InverseHessian
    direction: Array


def ascent(
    density: Callable[[Array], Array],
    init_loc: Array,
    visit: Callable[[PathPoint, Any], Any],
    seen: Any,
) -> tuple[PathPoint, Any]:
    """Climb to a mode, visiting every point after the start.

    The path ends where the gain that the quadratic model promises is lost in rounding, where no
    better point is found, or after 200 steps.

    Args:
        density: log density of a vector.
        init_loc: the start, shape ``(D,)``.
        visit: function of a point and of what has been seen, which it returns anew.
        seen: what has been seen at first.

    Returns:
        The last point, its value infinite if the density at the start is not finite, and what was
        seen.
    """
    objective = jax.value_and_grad(lambda point: -density(point))

    def step(carry):
        here, seen, count, _ = carry
        # the first step has no length: it evaluates the start
        first = count == 0
        slope = here.direction @ here.grad
        noise = 10.0 * jnp.finfo(slope.dtype).eps * jnp.maximum(jnp.abs(here.value), 1.0)
        descends = first | (slope < -noise)
        norm = jnp.linalg.norm(here.grad)
        size = jnp.where(count == 1, 1.0 / jnp.maximum(1.0, norm), 1.0)
        found, (point, value, grad) = _line_search(objective, here, slope, noise, size)
        moved = found & descends
        estimate = here.estimate.update(point - here.point, grad - here.grad)
        there = PathPoint(point, value, grad, estimate, -estimate.product(grad))
        here = _choose(moved, there, here)
        seen = _choose(moved & ~first, visit(here, seen), seen)
        return here, seen, count + 1, moved

    def goes_on(carry):
        _, _, count, moved = carry
        return (count <= MAX_STEPS) & moved

    return lax.while_loop(goes_on, step, (start_point(init_loc), seen, 0, True))[:2]


def start_point(init_loc: Array) -> PathPoint:
    """The start before anything is known about it."""
    dim = init_loc.size
    history = min(2 * dim, FULL_MEMORY_DIM) if dim <= FULL_MEMORY_DIM else HISTORY
    pairs = jnp.zeros((history, dim), init_loc.dtype)
    estimate = InverseHessian(jnp.ones_like(init_loc), pairs, pairs)
    infinite = jnp.full((), jnp.inf, init_loc.dtype)
    zeros = jnp.zeros_like(init_loc)
    return PathPoint(init_loc, infinite, zeros, estimate, zeros)


class _Search(NamedTuple):
    """A bracket of the minimum along a line, and the lowest point met."""

    size: Array
    low: Array
    low_slope: Array
    high: Array
    high_slope: Array
    lowest: Array
    best: tuple[Array, Array, Array]
    done: Array
    count: Array


def _line_search(objective, here: PathPoint, slope, noise, size):
    """Bracket the minimum and close in by the secant of the slopes.

    Returns whether anything lower was found, and the point, its value and gradient.
    """
    ceiling = here.value + noise

    def trial(s: _Search) -> _Search:
        point = here.point + s.size * here.direction
        value, grad = objective(point)
        trial_slope = grad @ here.direction
        # nan compares false, and so does an infinite start
        good = (value <= ceiling + ARMIJO * s.size * slope) & jnp.isfinite(trial_slope)
        good = good & jnp.isfinite(value) & jnp.isfinite(grad).all()
        done = good & (jnp.abs(trial_slope) <= -CURVATURE * slope)
        better = good & (done | (value < s.lowest))
        further = good & (trial_slope < 0.0)
        low, low_slope = _choose(further, (s.size, trial_slope), (s.low, s.low_slope))
        high, high_slope = _choose(further, (s.high, s.high_slope), (s.size, trial_slope))
        return _Search(
            _between(low, low_slope, high, high_slope, (s.low, s.low_slope)),
            low,
            low_slope,
            high,
            high_slope,
            jnp.where(better, value, s.lowest),
            _choose(better, (point, value, grad), s.best),
            done,
            s.count + 1,
        )

    zero, infinite = jnp.zeros_like(slope), jnp.full_like(slope, jnp.inf)
    search = _Search(
        size.astype(slope.dtype),
        zero,
        slope,
        infinite,
        jnp.full_like(slope, jnp.nan),
        infinite,
        (here.point, here.value, here.grad),
        jnp.array(False),
        jnp.array(0),
    )
    search = lax.while_loop(lambda s: ~s.done & (s.count < MAX_TRIALS), trial, search)
    return search.lowest < jnp.inf, search.best


def _between(low, low_slope, high, high_slope, previous):
    """The next trial: inside the bracket, or further out while there is no upper end."""
    fall = low_slope - previous[1]
    outer = jnp.where(fall > 0.0, low - low_slope * (low - previous[0]) / fall, jnp.inf)
    outer = jnp.clip(outer, 2.0 * low, 10.0 * low)
    width = high - low
    inner = low - low_slope * width / (high_slope - low_slope)
    inner = jnp.clip(inner, low + 0.01 * width, high - 0.01 * width)
    usable = (high_slope > low_slope) & jnp.isfinite(high_slope)
    inner = jnp.where(usable, inner, low + 0.1 * width)
    return jnp.where(jnp.isfinite(high), inner, outer)


def _choose(condition, one, other):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
