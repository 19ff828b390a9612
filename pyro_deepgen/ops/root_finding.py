"""Roots of increasing scalar functions, all entries at once, with implicit gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["expand_bracket", "implicit_root", "monotone_root", "tanh_root"]


def monotone_root(
    fn: Callable[[Tensor], tuple[Tensor, Tensor]],
    lower: Tensor,
    upper: Tensor,
    max_steps: int = 200,
) -> Tensor:
    r"""Return the root of an increasing function inside a bracket, elementwise.

    Newton's method, safeguarded by bisection (a step is taken only inside the bracket and only if
    it is at most half as long as the last), runs without a graph. The derivatives of the root in
    everything that ``fn`` closes over are those of :func:`implicit_root`.

    Args:
        fn: maps points of the bracket's shape to ``(value, derivative)``; differentiable.
        lower: points with ``fn(lower) <= 0``, any shape.
        upper: points with ``fn(upper) >= 0``, same shape.
        max_steps: upper limit of safeguarded steps; bisection alone needs about 60 in float64.

    Returns:
        The roots, of the bracket's shape.
    """
    with torch.no_grad():
        root = _safeguarded_newton(fn, lower, upper, max_steps)
    return implicit_root(fn, root)


def implicit_root(fn: Callable[[Tensor], tuple[Tensor, Tensor]], root: Tensor) -> Tensor:
    r"""Return ``root`` unchanged, with the derivatives of the implicit function theorem.

    Two Newton steps are taken, with a graph, for the equation
    :math:`f(x, \theta) = f(x_0, \theta_0)` that the root :math:`x_0` solves exactly. They do not
    move it, and their derivatives in :math:`\theta` are exact to second order.

    Args:
        fn: maps points to ``(value, derivative)``; differentiable.
        root: points where ``fn`` is zero up to rounding, any shape.
    """
    if not torch.is_grad_enabled():
        return root
    smallest = torch.finfo(root.dtype).tiny ** 0.5
    for _ in range(2):
        value, slope = fn(root)
        root = root - (value - value.detach()) / slope.clamp(min=smallest)
    return root


@torch.no_grad()
def expand_bracket(
    fn: Callable[[Tensor], tuple[Tensor, Tensor]], centre: Tensor, max_steps: int = 120
) -> tuple[Tensor, Tensor]:
    """Return a bracket of the root of an increasing function, by steps that double.

    Args:
        fn: maps points of the shape of ``centre`` to ``(value, derivative)``.
        centre: where to start, any shape; the closer to the root, the fewer steps.
        max_steps: upper limit of steps; 120 cover the range of float32.

    Returns:
        Points ``lower <= upper`` with ``fn(lower) <= 0 <= fn(upper)``, of the shape of ``centre``.
    """
    lower, upper, step = centre - 1.0, centre + 1.0, 1.0
    for _ in range(max_steps):
        too_high, too_low = fn(lower)[0] > 0, fn(upper)[0] < 0
        if not bool((too_high | too_low).any()):
            break
        step = 2.0 * step
        # the end on the wrong side of the root bounds it on the other side
        lower, upper = (
            torch.where(too_high, lower - step, torch.where(too_low, upper, lower)),
            torch.where(too_low, upper + step, torch.where(too_high, lower, upper)),
        )
    return lower, upper


def tanh_root(product: Tensor, target: Tensor) -> Tensor:
    r"""Return the solution of :math:`s + p \tanh s = t`, elementwise, for :math:`p > -1`.

    Args:
        product: ``p``, shape broadcastable to that of ``target``.
        target: ``t``, any shape.
    """

    def residual(s):
        tanh = torch.tanh(s)
        return s + product * tanh - target, 1.0 + product * (1.0 - tanh.square())

    reach = product.detach().abs() * (1.0 + 1e-6) + 1e-6
    centre = target.detach()
    return monotone_root(residual, centre - reach, centre + reach)


def _safeguarded_newton(fn, lower: Tensor, upper: Tensor, max_steps: int) -> Tensor:
    tolerance = 4.0 * torch.finfo(lower.dtype).eps
    point, moved = 0.5 * (lower + upper), upper - lower
    for _ in range(max_steps):
        value, slope = fn(point)
        lower = torch.where(value <= 0, point, lower)
        upper = torch.where(value >= 0, point, upper)
        proposal = point - value / slope
        usable = (proposal >= lower) & (proposal <= upper)
        usable = usable & ((proposal - point).abs() <= 0.5 * moved)
        proposal = torch.where(usable, proposal, 0.5 * (lower + upper))
        moved = (proposal - point).abs()
        point = proposal
        if bool((moved <= tolerance * (1.0 + point.abs())).all()):
            break
    return point
