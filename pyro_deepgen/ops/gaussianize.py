r"""The map between logistic and normal variables, right far out.

.. math::
    y = \Phi^{-1}(\sigma(v)), \qquad v = \log \Phi(y) - \log \Phi(-y),

computed in log space: no probability is ever formed, so that nothing saturates.
"""

import math

import torch
from torch import Tensor

from .root_finding import implicit_root

__all__ = ["logit_to_normal", "normal_to_logit"]

# dv / dy at zero, 4 phi(0)
CENTRAL_SLOPE = 4.0 / math.sqrt(2.0 * math.pi)
FAR = 30.0
NEWTON_STEPS = 8


def normal_to_logit(y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`v = \operatorname{logit} \Phi(y)` and :math:`\log dv / dy`, elementwise."""
    # dv / dy = phi(y) / (Phi(y) Phi(-y))
    size = y.abs()
    return _log_cdf(y) - _log_cdf(-y), _log_hazard(size) - _log_cdf(size)


def logit_to_normal(v: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`y = \Phi^{-1}(\sigma(v))` and :math:`\log dy / dv`, elementwise.

    The inverse of :func:`normal_to_logit` is convex on the positive side, where the smaller of two
    bounds from above starts Newton's method: it converges from that side in a few steps.
    """
    size = v.detach().abs()

    def residual(y):
        value, log_slope = normal_to_logit(y)
        return value - v, log_slope.exp()

    with torch.no_grad():
        y = torch.minimum(size / CENTRAL_SLOPE, (2.0 * size).sqrt())
        for _ in range(NEWTON_STEPS):
            value, log_slope = normal_to_logit(y)
            y = (y - (value - size) * (-log_slope).exp()).clamp(min=0.0)
        y = torch.where(v < 0, -y, y)
    y = implicit_root(residual, y)
    return y, -normal_to_logit(y)[1]


class _LogCDF(torch.autograd.Function):
    r"""The function :math:`\log \Phi(y)`, whose derivative is right far out too."""

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


_log_cdf = _LogCDF.apply


def _log_hazard(y: Tensor) -> Tensor:
    r"""Return :math:`\log (\phi(y) / \Phi(-y))` without cancellation far out."""
    near, far = y.clamp(max=FAR), y.clamp(min=FAR)
    direct = -0.5 * near.square() - 0.5 * math.log(2.0 * math.pi) - _log_cdf(-near)
    # the asymptotic series, right to rounding beyond FAR
    u = far.reciprocal().square()
    series = u * (1.0 + u * (-3.0 + u * (15.0 - 105.0 * u)))
    return torch.where(y > FAR, far.log() - torch.log1p(-series), direct)
