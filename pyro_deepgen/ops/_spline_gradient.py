r"""The derivatives of the rational-quadratic spline on flat arrays, written out.

The notation is that of the forward pass: a bin starts at :math:`(S, R)`, :math:`\xi` is the place
in it, ``y`` its image and ``L`` the log-derivative.

Let :math:`g_y` and :math:`g_L` be the cotangents of ``y`` and ``L``. At fixed :math:`\xi`,

.. math::
    \gamma_s = \frac{\xi^2 - \gamma (1 - 2 m)}{q}, \quad
    \gamma_{d_0} = \frac{(1 - \gamma) m}{q}, \quad
    \gamma_{d_1} = -\frac{\gamma m}{q}, \\
    L_s = \frac{2}{s} + \frac{2 m}{n} - \frac{2 (1 - 2 m)}{q}, \quad
    L_{d_0} = \frac{(1 - \xi)^2}{n} - \frac{2 m}{q}, \quad
    L_{d_1} = \frac{\xi^2}{n} - \frac{2 m}{q}, \\
    L_\xi = \frac{2 (d_1 \xi + s (1 - 2 \xi) - d_0 (1 - \xi))}{n}
            - \frac{2 (d_0 + d_1 - 2 s) (1 - 2 \xi)}{q},

so that with :math:`g_s = g_y h \gamma_s + g_L L_s` (and alike for the slopes) the cotangents are
:math:`g_R = g_y`, :math:`g_h = g_y \gamma + g_s / w`, :math:`g_S = -(g_y e^L + g_L L_\xi / w)`,
:math:`g_w = \xi g_S - g_s s / w` and :math:`g_x = -g_S`. The inverse solves the same equation for
``x``: with cotangents :math:`g_x` of ``x`` and :math:`-g_L` of ``-L``, the same formulas hold with
:math:`g_S = g_x` and :math:`g_y = -(g_x + g_L L_\xi / w) e^{-L}`, and the point receives
:math:`-g_y`.

Bin sizes are :math:`\epsilon + c p`, ``p`` a softmax, so :math:`S` is :math:`k \epsilon` plus the
``c``-fold sum of the first ``k`` probabilities, and the cotangent of the raw size ``j`` is
:math:`c p_j (G_j - \sum_i p_i G_i)` with :math:`G_j = g_S` for ``j < k``, :math:`g_w` for
``j = k`` and 0 beyond.
"""

import torch
from torch import Tensor
from torch.nn.functional import threshold

from ._spline_kernel import (
    MAX_RAW_SLOPE,
    MIN_BIN_SIZE,
    MIN_SLOPE,
    SLOPE_SHIFT,
    Bins,
    Shape,
    constants,
    fraction_of,
    shape_of,
)

__all__ = ["pull_back"]

# softplus(a) of the largest raw slope, beyond which the slope is constant
MAX_SOFTPLUS = MAX_RAW_SLOPE + SLOPE_SHIFT


def pull_back(
    grad_image: Tensor,
    grad_log_det: Tensor,
    bins: Bins,
    num_params: int,
    bound: float,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    """Return the cotangents of the points, ``(M,)``, and of the raw parameters.

    Args:
        grad_image: cotangent of the image, ``(M,)``.
        grad_log_det: cotangent of the log-derivative, ``(M,)``.
        bins: what the forward pass selected.
        num_params: number ``P`` of raw parameters of a point.
        bound: half-width of the interval.
        inverse: whether the forward pass evaluated the inverse.
    """
    (width, height), xi = bins.extent, bins.xi
    shape = shape_of(bins, height / width, constants(xi, bound))
    fraction = fraction_of(bins, shape)
    g_log = -grad_log_det if inverse else grad_log_det
    along = _along(bins, shape, g_log).div_(width)
    steepness = (shape.secant / shape.denominator).square_().mul_(shape.numerator)
    g_image = grad_image * (2.0 * bound)
    if inverse:
        g_start, g_base = g_image, (g_image + along).div_(steepness).neg_()
        grad_point = g_base * (-0.5 / bound)
    else:
        g_start, g_base = (g_image * steepness).add_(along).neg_(), g_image
        grad_point = g_start * (-0.5 / bound)
    g_secant, g_slopes = _at_fixed_place(g_base * height, g_log, bins, shape, fraction)
    g_secant.div_(width)
    g_height = (g_base * fraction).add_(g_secant)
    g_width = (g_start * xi).addcmul_(g_secant, shape.secant, value=-1.0)

    grad = width.new_empty(num_params, width.shape[0])
    num_sizes = 2 * bins.probs.shape[1]
    first, own = torch.stack([g_start, g_base]), torch.stack([g_width, g_height])
    _pull_back_sizes(first, own, bins, grad[:num_sizes].view(bins.probs.shape))
    # softplus'(a) = 1 - exp(-softplus(a)), and 0 where the raw slope was clamped
    rate = threshold(MIN_SLOPE - bins.slope, -MAX_SOFTPLUS, 0.0).expm1_().neg_()
    _pull_back_slopes(*rate.mul_(g_slopes), bins, grad[num_sizes:])
    return grad_point, grad


def _along(bins: Bins, shape: Shape, g_log: Tensor) -> Tensor:
    r"""Return :math:`g_L L_\xi`."""
    xi, (left, right), secant = bins.xi, bins.slope, shape.secant
    rise = (right * xi).add_(left * xi).sub_(left).add_(secant).sub_(secant * xi, alpha=2.0)
    bend = torch.sub(shape.curvature, shape.curvature * xi, alpha=2.0)
    return rise.div_(shape.numerator).sub_(bend.div_(shape.denominator)).mul_(2.0 * g_log)


def _at_fixed_place(
    g_image: Tensor, g_log: Tensor, bins: Bins, shape: Shape, fraction: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return :math:`g_s` and the cotangents of both slopes, from :math:`g_y h` and :math:`g_L`."""
    outer = g_image / shape.denominator
    over_n = g_log / shape.numerator
    bent = (2.0 * g_log).div_(shape.denominator).addcmul_(outer, fraction)
    square, mixed = shape.square, shape.mixed
    g_secant = (outer * square).sub_(bent).addcmul_(mixed, bent + over_n, value=2.0)
    g_secant.addcdiv_(g_log, shape.secant, value=2.0)
    g_left = (outer - bent).mul_(mixed).addcmul_((1.0 - bins.xi).square_(), over_n)
    g_right = (square * over_n).addcmul_(mixed, bent, value=-1.0)
    return g_secant, torch.stack([g_left, g_right])


def _pull_back_sizes(first: Tensor, own: Tensor, bins: Bins, out: Tensor) -> None:
    """Write the cotangents of the raw sizes, from those of the starts and of the sizes."""
    num_bins = bins.probs.shape[1]
    scale = 1.0 - MIN_BIN_SIZE * num_bins
    index = bins.below.sum(0).neg_().add_(num_bins - 1)
    mean = (bins.start - index.mul_(MIN_BIN_SIZE)).mul_(first)
    mean.addcmul_(bins.extent - MIN_BIN_SIZE, own)
    # c G_j - mean, G_j = first (1 - below_{j+1}) + own (below_{j+1} - below_j)
    own = own * scale
    first = first.mul_(scale)
    base, step = (first - mean).unsqueeze(1), (own - first).unsqueeze(1)
    torch.addcmul(base, bins.below, step, out=out[:, :-1])
    torch.sub(own, mean, out=out[:, -1])
    out[:, 1:].addcmul_(bins.below, own.unsqueeze(1), value=-1.0)
    out.mul_(bins.probs)


def _pull_back_slopes(left: Tensor, right: Tensor, bins: Bins, out: Tensor) -> None:
    """Write the cotangents of the raw slopes, from those of the two that were selected."""
    below = bins.below
    here = torch.cat([below[:1], below[1:] - below[:-1], 1.0 - below[-1:]])
    if out.shape[0] < here.shape[0]:
        torch.mul(here[1:], left, out=out).addcmul_(here[:-1], right)
    else:
        out[-1].zero_()
        torch.mul(here, left, out=out[:-1])
        out[1:].addcmul_(here, right)
