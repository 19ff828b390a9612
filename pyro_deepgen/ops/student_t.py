r"""Distribution functions of Student-t variables, in log space.

With :math:`s = \sqrt\nu \sinh y` the upper tail at :math:`t = \sqrt\nu \sinh y_0 \ge 0` is

.. math::
    S(t) = \frac{1}{2} \cosh(y_0)^{-\nu} \frac{R(y_0)}{R(0)}, \qquad
    R(y_0) = \int_0^\infty \big(\cosh h + \tanh(y_0) \sinh h\big)^{-\nu} dh,

whose smooth integrands are summed over Gauss-Legendre nodes up to where they are
:math:`e^{-40}`. Nothing cancels, and there are derivatives in :math:`t` and :math:`\nu`.
"""

import math

import torch
from torch import Tensor

from .._numerics.quadrature import gauss_legendre

__all__ = ["log_student_t_tails"]

NUM_NODES = 64
# log of how far an integrand falls
DEPTH = 40.0
# where the logarithm of the hyperbolic cosine is that of its argument's sinh
FAR = 1e3


def log_student_t_tails(t: Tensor, df: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\log F(t)` and :math:`\log (1 - F(t))` of the standard Student-t variable.

    Args:
        t: points, any shape.
        df: degrees of freedom :math:`\nu`, at least 1, of a shape that broadcasts.
    """
    # not the absolute value, whose derivative at zero is none
    log_far = _log_upper_tail(torch.where(t < 0, -t, t), df)
    log_near = torch.log1p(-log_far.exp())
    return torch.where(t < 0, log_far, log_near), torch.where(t < 0, log_near, log_far)


def _log_upper_tail(size: Tensor, df: Tensor) -> Tensor:
    ratio = size / df.sqrt()
    near, far = ratio.clamp(max=FAR), ratio.clamp(min=FAR)
    log_cosh = torch.where(
        ratio < FAR,
        0.5 * torch.log1p(near.square()),
        far.log() + 0.5 * torch.log1p(far.reciprocal().square()),
    )
    slope = torch.tanh(torch.asinh(ratio))
    relative = _log_integral(slope, df) - _log_integral(torch.zeros_like(slope), df)
    return -math.log(2.0) - df * log_cosh + relative


def _log_integral(slope: Tensor, df: Tensor) -> Tensor:
    r"""Return :math:`\log R` by the slope :math:`\tanh y_0`."""
    nodes, weights = (slope.new_tensor(a) for a in gauss_legendre(NUM_NODES))
    with torch.no_grad():
        # where cosh h + slope * sinh h is exp(DEPTH / df)
        rise = torch.expm1(DEPTH / df)
        square = rise * (2.0 + rise)
        rise = rise + square / ((square + slope.square()).sqrt() + slope)
        width = torch.log1p(rise / (1.0 + slope))
    h, slope, df = width.unsqueeze(-1) * nodes, slope.unsqueeze(-1), df.unsqueeze(-1)
    base = torch.log1p(2.0 * torch.sinh(0.5 * h).square() + slope * torch.sinh(h))
    return width.log() + ((-df * base).exp() * weights).sum(-1).log()
