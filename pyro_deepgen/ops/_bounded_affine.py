r"""The affine map with a bounded log-scale.

.. math::
    y = e^{s} x + t, \qquad s = m \tanh(a / m) = 2 m \, u - m, \quad u = \sigma(2 a / m).

Exponentials are powers of two, of :math:`s \log_2 e`, which the host computes several times faster.
:func:`bounded_affine` runs in place, with its derivatives written out, wherever plain values and
first derivatives are asked for. With cotangents :math:`g_y` and :math:`g_L` of the image and of the
log-derivative :math:`L = s`, and with :math:`ds / da = 4 u (1 - u)`,

.. math::
    g_t = g_y, \qquad g_x = g_y e^{s}, \qquad g_a = 4 u (1 - u) \, (g_x x + g_L).

The inverse :math:`x = (y - t) e^{-s}`, :math:`L = -s`, has

.. math::
    g_y = g_x e^{-s}, \qquad g_t = -g_y, \qquad g_a = -4 u (1 - u) \, (g_x x + g_L).
"""

import math

import torch
from torch import Tensor

from ._modes import is_batched, is_eager
from ._scalars import scalars

__all__ = ["bounded_affine"]

LOG_TWO = math.log(2.0)


def bounded_affine(
    point: Tensor, params: Tensor, bound: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Evaluate the map, or its inverse, and the elementwise log-derivative.

    Args:
        point: shape ``batch_shape + (D,)``.
        params: :math:`(t, a)`, shape broadcastable to ``batch_shape + (2, D)``.
        bound: largest size ``m`` of the log-scale, positive.
        inverse: whether to evaluate the inverse.

    Returns:
        The image and the log-derivative of the direction asked for, both ``batch_shape + (D,)``.
    """
    loc, raw = params.unbind(-2)
    if point.shape != raw.shape or point.dtype != raw.dtype or not is_eager():
        return _composite(point, loc, raw, bound, inverse)
    if torch.is_grad_enabled() and (point.requires_grad or params.requires_grad):
        return _BoundedAffine.apply(point, params, bound, inverse)
    return _evaluate(point, loc, raw, bound, inverse)[:2]


def _composite(point: Tensor, loc: Tensor, raw: Tensor, bound: float, inverse: bool):
    rate, offset, log_two, factor = _constants(raw, bound, inverse)
    exponent = torch.add(offset, torch.sigmoid(raw * rate), alpha=factor)
    scale = torch.exp2(exponent)
    image = (point - loc) * scale if inverse else torch.addcmul(loc, point, scale)
    log_det = exponent * log_two
    return image, log_det if log_det.shape == image.shape else log_det.expand(image.shape)


def _evaluate(
    point: Tensor, loc: Tensor, raw: Tensor, bound: float, inverse: bool, keep: bool = False
) -> tuple[Tensor, ...]:
    """Return image, log-derivative, scale and, if it is to be kept, ``u``."""
    rate, offset, log_two, factor = _constants(raw, bound, inverse)
    fraction = (raw * rate).sigmoid_()
    exponent = torch.add(offset, fraction, alpha=factor, out=None if keep else fraction)
    scale = torch.exp2(exponent)
    image = (point - loc).mul_(scale) if inverse else torch.addcmul(loc, point, scale)
    return image, exponent.mul_(log_two), scale, fraction


def _constants(like: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor, Tensor, float]:
    r"""Return :math:`2 / m`, then offset, unit (:math:`\log 2`) and factor of the exponent."""
    largest = (-bound if inverse else bound) / LOG_TWO
    return *scalars(like, 2.0 / bound, -largest, LOG_TWO), 2.0 * largest


class _BoundedAffine(torch.autograd.Function):
    """The map of equally shaped points and parameters.

    A derivative of the derivative is that of the composite expression.
    """

    @staticmethod
    def forward(ctx, point, params, bound, inverse):
        loc, raw = params.unbind(-2)
        image, log_det, scale, fraction = _evaluate(point, loc, raw, bound, inverse, keep=True)
        ctx.settings = (bound, inverse)
        ctx.save_for_backward(point, params, image if inverse else point, fraction, scale)
        return image, log_det

    @staticmethod
    def backward(ctx, grad_image, grad_log_det):
        point, params, x, fraction, scale = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(grad_image) or is_batched(grad_log_det):
            grads = _composite_grads(point, params, ctx.settings, (grad_image, grad_log_det))
            return *grads, None, None
        inverse = ctx.settings[1]
        grad_point = grad_image * scale
        grad_params = torch.empty_like(params)
        grad_loc, grad_raw = grad_params.unbind(-2)
        if inverse:
            torch.neg(grad_point, out=grad_loc)
        else:
            grad_loc.copy_(grad_image)
        by_x = grad_image if inverse else grad_point
        by_log_scale = torch.addcmul(grad_log_det, by_x, x)
        torch.ops.aten.sigmoid_backward(by_log_scale, fraction, grad_input=grad_raw)
        grad_raw.mul_(-4.0 if inverse else 4.0)
        return grad_point, grad_params, None, None


def _composite_grads(point: Tensor, params: Tensor, settings: tuple, cotangents: tuple):
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        if not point.requires_grad:
            point = point.detach().requires_grad_()
        if not params.requires_grad:
            params = params.detach().requires_grad_()
        results = _composite(point, *params.unbind(-2), *settings)
        return torch.autograd.grad(
            results, (point, params), cotangents, create_graph=differentiable
        )
