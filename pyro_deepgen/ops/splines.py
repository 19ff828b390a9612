r"""Monotone rational-quadratic splines with linear tails.

On bin ``k`` with left knot :math:`(x_k, y_k)`, width :math:`w`, height :math:`h`, secant
:math:`s = h / w` and end slopes :math:`d_0, d_1`, with :math:`\xi = (x - x_k) / w`,

.. math::
    y = y_k + \frac{h \, (s \xi^2 + d_0 \xi (1 - \xi))}{s + (d_1 + d_0 - 2 s) \xi (1 - \xi)}.

Outside ``[-bound, bound]`` the spline is the identity (Gregory & Delbourgo 1982; Durkan et al.
2019). Bins lie on the axis before the last, and only the two slopes of the selected bin are
activated. :func:`rational_quadratic_spline` is built from operations that every transformation of
the host follows; :func:`packed_spline` runs the same function with its derivatives written out
wherever plain values and first derivatives are asked for.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ._modes import is_batched, is_eager
from ._spline_gradient import pull_back
from ._spline_kernel import (
    MAX_RAW_SLOPE,
    MIN_BIN_SIZE,
    MIN_SLOPE,
    SLOPE_SHIFT,
    Bins,
    constants,
    evaluate,
)

__all__ = ["MIN_BIN_SIZE", "packed_spline", "rational_quadratic_spline"]


def packed_spline(
    x: Tensor, params: Tensor, num_bins: int, bound: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Evaluate the spline of parameters that lie in one array: widths, heights, slopes.

    Args:
        x: points, shape ``batch_shape + (D,)``.
        params: shape broadcastable to ``batch_shape + (P, D)``, ``P`` being ``3 K - 1`` (slopes of
            1 at the ends) or ``3 K + 1``. Fastest if the axis ``P`` is outermost in memory.
        num_bins: number ``K`` of bins.
        bound: half-width of the interval that the bins cover, positive.
        inverse: whether to evaluate the inverse.

    Returns:
        The same as :func:`rational_quadratic_spline`.
    """
    if not _is_plain(x, params):
        return _composite(x, params, num_bins, bound, inverse)
    # flat, in the order in which the parameters lie in memory
    point, rows = x, params.movedim(-2, 0)
    if params.stride(-1) != 1:
        point, rows = x.movedim(-1, 0), rows.movedim(-1, 1)
    shape = point.shape
    point, rows = point.reshape(-1), rows.reshape(rows.shape[0], -1)
    if torch.is_grad_enabled() and (point.requires_grad or rows.requires_grad):
        image, log_det = _Spline.apply(point, rows, num_bins, bound, inverse)
    else:
        image, log_det = _evaluate(point, rows, num_bins, bound, inverse)[:2]
    image, log_det = image.view(shape), log_det.view(shape)
    if params.stride(-1) != 1:
        image, log_det = image.movedim(0, -1), log_det.movedim(0, -1)
    return image, log_det


def _is_plain(x: Tensor, params: Tensor) -> bool:
    """Whether no transformation but reverse differentiation follows, and shapes are equal."""
    return (
        x.ndim == params.ndim - 1
        and x.shape == params.shape[:-2] + params.shape[-1:]
        and x.dtype == params.dtype
        and is_eager()
    )


def _composite(x: Tensor, params: Tensor, num_bins: int, bound: float, inverse: bool):
    sizes = [num_bins, num_bins, params.shape[-2] - 2 * num_bins]
    return rational_quadratic_spline(x, *params.split(sizes, -2), bound, inverse)


def _evaluate(x: Tensor, params: Tensor, num_bins: int, bound: float, inverse: bool):
    k = constants(x, bound)
    inside = x.abs() < k.bound
    point = x.clamp(-k.bound, k.bound)
    image, log_det, bins = evaluate(point, params, num_bins, bound, inverse)
    return torch.where(inside, image, x), torch.where(inside, log_det, k.zero), inside, bins


class _Spline(torch.autograd.Function):
    """The spline of points ``(M,)`` and parameters ``(P, M)``.

    A derivative of the derivative is that of the composite expression.
    """

    @staticmethod
    def forward(ctx, x, params, num_bins, bound, inverse):
        ctx.settings = (num_bins, bound, inverse)
        image, log_det, inside, bins = _evaluate(x, params, num_bins, bound, inverse)
        ctx.save_for_backward(x, params, inside, *bins)
        return image, log_det

    @staticmethod
    def backward(ctx, grad_image, grad_log_det):
        x, params, inside, *bins = ctx.saved_tensors
        num_bins, bound, inverse = ctx.settings
        if torch.is_grad_enabled() or is_batched(grad_image) or is_batched(grad_log_det):
            grads = _composite_grads(x, params, ctx.settings, (grad_image, grad_log_det))
        else:
            zero = constants(x, bound).zero
            grad_x, grad_params = pull_back(
                torch.where(inside, grad_image, zero),
                torch.where(inside, grad_log_det, zero),
                Bins(*bins),
                params.shape[0],
                bound,
                inverse,
            )
            grads = torch.where(inside, grad_x, grad_image), grad_params
        return *grads, None, None, None


def _composite_grads(x: Tensor, params: Tensor, settings: tuple, cotangents: tuple):
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        if not x.requires_grad:
            x = x.detach().requires_grad_()
        if not params.requires_grad:
            params = params.detach().requires_grad_()
        results = _composite(x.unsqueeze(-1), params.mT.unsqueeze(-1), *settings)
        results = [result.squeeze(-1) for result in results]
        return torch.autograd.grad(results, (x, params), cotangents, create_graph=differentiable)


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
