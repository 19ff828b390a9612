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

References:
    Zhang, Carpenter, Gelman & Vehtari (2022), Pathfinder: parallel quasi-Newton variational
    inference, algorithms 2-3; Byrd, Nocedal & Schnabel (1994), equation 3.1; Gilbert & Lemarechal
    (1989), Some numerical experiments with variable-storage quasi-Newton algorithms, equation 4.9;
    Nocedal & Wright (2006), Numerical optimization, algorithms 3.5-3.6.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["InverseHessian", "PathPoint", "ascent"]

MAX_STEPS = 200
FULL_MEMORY_DIM, HISTORY = 100, 30
MAX_TRIALS = 20
ARMIJO, CURVATURE = 1e-4, 1e-2
MIN_CURVATURE = 1e-12


class InverseHessian(NamedTuple):
    """The estimate: ``alpha`` of shape ``(D,)``, ``steps`` and ``changes`` of shape ``(J, D)``.

    Unused pairs are zero.
    """

    alpha: Tensor
    steps: Tensor
    changes: Tensor

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return the transpose of ``beta``, shape ``(2 J, D)``, and ``gamma``, ``(2 J, 2 J)``."""
        weighted = self.changes * self.alpha
        identity = torch.eye(len(self.steps)).to(self.alpha)
        upper = (self.steps @ self.changes.mT).triu(1) + identity
        inverse = torch.linalg.solve_triangular(upper, identity, upper=True)
        corner = inverse.mT @ (identity + weighted @ self.changes.mT) @ inverse
        top = torch.cat([torch.zeros_like(inverse), -inverse], -1)
        gamma = torch.cat([top, torch.cat([-inverse.mT, corner], -1)], -2)
        return torch.cat([weighted, self.steps]), gamma

    def product(self, vector: Tensor) -> Tensor:
        """Return the estimate times a vector of shape ``(D,)``."""
        beta, gamma = self.factors()
        return self.alpha * vector + (gamma @ (beta @ vector)) @ beta

    def update(self, step: Tensor, change: Tensor) -> "InverseHessian":
        """Add a pair, unless its curvature is not positive."""
        curvature = step @ change
        if not curvature > MIN_CURVATURE * (change @ change):
            return self
        step, change = step * curvature.rsqrt(), change * curvature.rsqrt()
        # Gilbert & Lemarechal, equation 4.9, where s^T z = 1
        a, c = change @ (self.alpha * change), step @ (step / self.alpha)
        alpha = 1.0 / (a / self.alpha + change**2 - (a / c) * (step / self.alpha) ** 2)
        if not (alpha.isfinite().all() and (alpha > 0).all()):
            alpha = self.alpha
        return InverseHessian(
            alpha,
            torch.cat([self.steps[1:], step[None]]),
            torch.cat([self.changes[1:], change[None]]),
        )


class PathPoint(NamedTuple):
    """A point of the path: its negative log density, the gradient of that, and the estimate.

    ``direction`` is minus the estimate times the gradient.
    """

    point: Tensor
    value: Tensor
    grad: Tensor
    estimate: InverseHessian
    direction: Tensor


def ascent(density: Callable[[Tensor], Tensor], init_loc: Tensor) -> Iterator[PathPoint]:
    """Climb to a mode; yield the start and every point after it.

    The path ends where the gain that the quadratic model promises is lost in rounding, where no
    better point is found, or after 200 steps.

    Args:
        density: log density of a vector.
        init_loc: the start, shape ``(D,)``; the density there should be finite.
    """

    def objective(point: Tensor) -> tuple[Tensor, Tensor]:
        point = point.detach().requires_grad_()
        value = -density(point)
        return value.detach(), torch.autograd.grad(value, [point])[0]

    dim = init_loc.numel()
    history = min(2 * dim, FULL_MEMORY_DIM) if dim <= FULL_MEMORY_DIM else HISTORY
    pairs = init_loc.new_zeros(history, dim)
    estimate = InverseHessian(torch.ones_like(init_loc), pairs, pairs)
    value, grad = objective(init_loc)
    here = PathPoint(init_loc, value, grad, estimate, -grad)
    yield here
    for count in range(MAX_STEPS):
        slope = here.direction @ here.grad
        noise = 10.0 * torch.finfo(slope.dtype).eps * here.value.abs().clamp(min=1.0)
        if not slope < -noise:
            return
        size = 1.0 if count else 1.0 / max(1.0, float(here.grad.norm()))
        found = _line_search(objective, here, slope, noise, size)
        if found is None:
            return
        point, value, grad = found
        estimate = here.estimate.update(point - here.point, grad - here.grad)
        here = PathPoint(point, value, grad, estimate, -estimate.product(grad))
        yield here


def _line_search(objective, here: PathPoint, slope, noise, size: float):
    """Bracket the minimum and close in by the secant of the slopes; None if nothing is lower."""
    slope, ceiling = float(slope), float(here.value + noise)
    best, lowest = None, float("inf")
    low, low_slope, high, high_slope = 0.0, slope, float("inf"), float("nan")
    for _ in range(MAX_TRIALS):
        point = here.point + size * here.direction
        value, grad = objective(point)
        trial_slope = float(grad @ here.direction)
        # nan compares false
        good = float(value) <= ceiling + ARMIJO * size * slope and abs(trial_slope) < float("inf")
        if good and float(value) < lowest:
            best, lowest = (point, value, grad), float(value)
        if good and abs(trial_slope) <= -CURVATURE * slope:
            return point, value, grad
        if good and trial_slope < 0.0:
            previous, low, low_slope = (low, low_slope), size, trial_slope
            size = _between(low, low_slope, high, high_slope, previous)
        else:
            high, high_slope = size, trial_slope
            size = _between(low, low_slope, high, high_slope, (low, low_slope))
    return best


def _between(low: float, low_slope: float, high: float, high_slope: float, previous) -> float:
    """The next trial: inside the bracket, or further out while there is no upper end."""
    if high == float("inf"):
        fall = low_slope - previous[1]
        secant = low - low_slope * (low - previous[0]) / fall if fall > 0.0 else float("inf")
        return min(max(secant, 2.0 * low), 10.0 * low)
    width = high - low
    if not high_slope > low_slope or high_slope == float("inf"):
        return low + 0.1 * width
    secant = low - low_slope * width / (high_slope - low_slope)
    return min(max(secant, low + 0.01 * width), high - 0.01 * width)
