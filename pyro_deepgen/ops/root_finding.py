"""Roots of increasing scalar functions, all entries at once, with implicit gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["monotone_root"]


def monotone_root(
    fn: Callable[[Tensor], tuple[Tensor, Tensor]],
    lower: Tensor,
    upper: Tensor,
    max_steps: int = 200,
) -> Tensor:
    r"""Return the root of an increasing function inside a bracket, elementwise.

    Newton's method, safeguarded by bisection, runs without a graph. Two further Newton steps are
    then taken with one: by the implicit function theorem they give the derivatives of the root in
    everything that ``fn`` closes over, exact to second order.

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
    for _ in range(2):
        value, slope = fn(root)
        root = root - value / slope
    return root


def _safeguarded_newton(fn, lower: Tensor, upper: Tensor, max_steps: int) -> Tensor:
    tolerance = 4.0 * torch.finfo(lower.dtype).eps
    point = 0.5 * (lower + upper)
    for _ in range(max_steps):
        value, slope = fn(point)
        lower = torch.where(value <= 0, point, lower)
        upper = torch.where(value >= 0, point, upper)
        proposal = point - value / slope
        usable = (proposal >= lower) & (proposal <= upper)
        proposal = torch.where(usable, proposal, 0.5 * (lower + upper))
        moved = (proposal - point).abs()
        point = proposal
        if bool((moved <= tolerance * (1.0 + point.abs())).all()):
            break
    return point
