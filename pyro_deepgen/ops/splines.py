r"""Monotone rational-quadratic splines with linear tails.

On bin ``k`` with left knot :math:`(x_k, y_k)`, width :math:`w`, height :math:`h`, secant
:math:`s = h / w` and end slopes :math:`d_0, d_1`, with :math:`\xi = (x - x_k) / w`,

.. math::
    y = y_k + \frac{h \, (s \xi^2 + d_0 \xi (1 - \xi))}{s + (d_1 + d_0 - 2 s) \xi (1 - \xi)}.

Outside ``[-bound, bound]`` the spline is the identity (Gregory & Delbourgo 1982; Durkan et al.
2019). Bins lie on the axis before the last, so that softmax, cumulative sum and search run over
strided rows, and only the two slopes of the selected bin are activated.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["rational_quadratic_spline"]

MIN_BIN_SIZE = 1e-3
MIN_SLOPE = 1e-3
# keeps products of slopes finite in float32, whatever a network puts out
MAX_RAW_SLOPE = 1e3
# softplus(SLOPE_SHIFT) + MIN_SLOPE == 1: raw slopes of zero give unit slopes
SLOPE_SHIFT = math.log(math.expm1(1.0 - MIN_SLOPE))


def rational_quadratic_spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    bound: float,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Evaluate the spline, or its inverse, and the elementwise log-derivative.

    Args:
        x: points, shape ``batch_shape + (D,)``; any real numbers.
        widths: unnormalised bin widths, shape broadcastable to ``batch_shape + (K, D)``.
        heights: unnormalised bin heights, same shape.
        slopes: unconstrained slopes, ``batch_shape + (K - 1, D)`` for the interior knots (the outer
            ones then have slope 1), or ``batch_shape + (K + 1, D)`` for all knots.
        bound: half-width of the interval that the bins cover, positive.
        inverse: whether to evaluate the inverse.

    Returns:
        The image and :math:`\log |dy/dx|` of the direction asked for, both ``batch_shape + (D,)``.
        All zero parameters give the identity.

    References:
        Durkan et al. 2019, Neural Spline Flows, equations 4-8 and 29-31 (inverse).
    """
    x_knots, y_knots = _knots(widths, bound), _knots(heights, bound)
    inside = (x > -bound) & (x < bound)
    point = x.clamp(-bound, bound)
    searched = y_knots if inverse else x_knots
    index = (point.unsqueeze(-2) >= searched[..., 1:-1, :]).sum(-2, keepdim=True)

    x_left, width = _select_bin(x_knots, index)
    y_left, height = _select_bin(y_knots, index)
    if slopes.shape[-2] < widths.shape[-2]:
        # raw slopes of zero at both ends: unit slopes meet the linear tails
        slopes = torch.nn.functional.pad(slopes, (0, 0, 1, 1))
    left_slope, right_slope = _select_slopes(slopes, index)
    secant = height / width
    curvature = left_slope + right_slope - 2.0 * secant

    if inverse:
        # equations 29-31: the root of a xi^2 + b xi + c in [0, 1]
        offset = point - y_left
        a = height * (secant - left_slope) + offset * curvature
        b = height * left_slope - offset * curvature
        c = -secant * offset
        root = (b.square() - 4.0 * a * c).clamp(min=torch.finfo(x.dtype).tiny).sqrt()
        xi = (2.0 * c / (-b - root)).clamp(0.0, 1.0)
    else:
        xi = ((point - x_left) / width).clamp(0.0, 1.0)

    mixed = xi * (1.0 - xi)
    denominator = secant + curvature * mixed
    # equation 5: the derivative of the spline at xi
    log_det = (
        2.0 * secant.log()
        + (
            right_slope * xi.square() + 2.0 * secant * mixed + left_slope * (1.0 - xi).square()
        ).log()
        - 2.0 * denominator.log()
    )
    if inverse:
        image, log_det = x_left + xi * width, -log_det
    else:
        # equation 4
        image = y_left + height * (secant * xi.square() + left_slope * mixed) / denominator
    return torch.where(inside, image, x), torch.where(inside, log_det, torch.zeros_like(log_det))


def _knots(sizes: Tensor, bound: float) -> Tensor:
    """Turn unnormalised sizes ``(..., K, D)`` into knots ``(..., K + 1, D)``."""
    num_bins = sizes.shape[-2]
    sizes = MIN_BIN_SIZE + (1.0 - MIN_BIN_SIZE * num_bins) * sizes.softmax(-2)
    interior = bound * (2.0 * sizes[..., :-1, :].cumsum(-2) - 1.0)
    edge = torch.full_like(sizes[..., :1, :], bound)
    return torch.cat([-edge, interior, edge], -2)


def _select(values: Tensor, index: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(values.shape[:-2], index.shape[:-2])
    values = values.expand(shape + values.shape[-2:])
    return values.gather(-2, index.expand(shape + index.shape[-2:])).squeeze(-2)


def _select_bin(knots: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    left = _select(knots, index)
    return left, _select(knots, index + 1) - left


def _select_slopes(slopes: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    left = _select(slopes, index).clamp(max=MAX_RAW_SLOPE)
    right = _select(slopes, index + 1).clamp(max=MAX_RAW_SLOPE)
    return softplus(left + SLOPE_SHIFT) + MIN_SLOPE, softplus(right + SLOPE_SHIFT) + MIN_SLOPE
