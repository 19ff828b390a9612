r"""The map between logistic and normal variables, right far out.

.. math::
    y = \Phi^{-1}(\sigma(v)), \qquad v = \log \Phi(y) - \log \Phi(-y),

computed in log space: no probability is ever formed, so that nothing saturates.
"""

import math

import torch
from torch import Tensor

__all__ = ["log_normal_cdf", "logit_to_normal", "normal_to_logit"]

# where the asymptotic series of the hazard takes over
FAR = 30.0
# where the quantile is taken of a probability, a number of float32
SMALL_TAIL = 60.0
NEWTON_STEPS = 3


def normal_to_logit(y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`v = \operatorname{logit} \Phi(y)` and :math:`\log dv / dy`, elementwise."""
    return log_normal_cdf(y) - log_normal_cdf(-y), _log_slope(y)


def logit_to_normal(v: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`y = \Phi^{-1}(\sigma(v))` and :math:`\log dy / dv`, elementwise.

    The normal quantile where :math:`\sigma(-|v|)` is a number, or its asymptotic form, starts
    Newton's method for :func:`normal_to_logit`.
    """
    y = _LogitToNormal.apply(v)
    return y, -_log_slope(y)


class _LogitToNormal(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v):
        size = v.abs()
        near, far = size.clamp(max=SMALL_TAIL), size.clamp(min=SMALL_TAIL)
        quantile = -torch.special.ndtri(torch.sigmoid(-near))
        # log Phi(-y) is about -y^2 / 2 - log(y sqrt(2 pi))
        asymptotic = (2.0 * far - (4.0 * math.pi * far).log()).sqrt()
        y = torch.where(size > SMALL_TAIL, asymptotic, quantile)
        for _ in range(NEWTON_STEPS):
            value, log_slope = normal_to_logit(y)
            y = y - (value - size) * (-log_slope).exp()
        return torch.where(v < 0, -y, y)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (-_log_slope(y)).exp()


class _LogCDF(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y):
        return torch.special.log_ndtr(y)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * _log_hazard(-y).exp()


def log_normal_cdf(y: Tensor) -> Tensor:
    r"""Return :math:`\log \Phi(y)`, whose derivative is right far out too."""
    return _LogCDF.apply(y)


def _log_slope(y: Tensor) -> Tensor:
    r"""Return :math:`\log dv / dy = \log (\phi(y) / (\Phi(y) \Phi(-y)))`."""
    size = y.abs()
    return _log_hazard(size) - log_normal_cdf(size)


def _log_hazard(y: Tensor) -> Tensor:
    r"""Return :math:`\log (\phi(y) / \Phi(-y))` without cancellation far out."""
    near, far = y.clamp(max=FAR), y.clamp(min=FAR)
    direct = -0.5 * near.square() - 0.5 * math.log(2.0 * math.pi) - log_normal_cdf(-near)
    # the asymptotic series, right to rounding beyond FAR
    u = far.reciprocal().square()
    series = u * (1.0 + u * (-3.0 + u * (15.0 - 105.0 * u)))
    return torch.where(y > FAR, far.log() - torch.log1p(-series), direct)
