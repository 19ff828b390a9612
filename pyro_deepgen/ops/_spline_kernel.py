r"""The rational-quadratic spline on flat arrays, without a graph.

Points are vectors of length ``M``, parameters ``(P, M)``, contiguous, so that every operation runs
along memory. In units where the interval is :math:`[0, 1]`, bin ``k`` starts at
:math:`(S, R)` and has width ``w``, height ``h``, secant :math:`s = h / w` and end slopes
:math:`d_0, d_1`. With :math:`\xi = (x - S) / w` and :math:`m = \xi (1 - \xi)`,

.. math::
    y = R + h \gamma, \quad \gamma = \frac{s \xi^2 + d_0 m}{q}, \quad
    q = s + (d_0 + d_1 - 2 s) m, \quad
    L = \log \frac{dy}{dx} = \log \frac{s^2 n}{q^2}, \quad
    n = d_1 \xi^2 + 2 s m + d_0 (1 - \xi)^2 .

Bin sizes are :math:`\epsilon + c p`, ``p`` a softmax.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ._scalars import scalars

__all__ = [
    "MAX_RAW_SLOPE",
    "MIN_BIN_SIZE",
    "MIN_SLOPE",
    "SLOPE_SHIFT",
    "Bins",
    "Constants",
    "Shape",
    "constants",
    "evaluate",
    "fraction_of",
    "shape_of",
]

MIN_BIN_SIZE = 1e-3
MIN_SLOPE = 1e-3
# keeps products of slopes finite in float32, whatever a network puts out
MAX_RAW_SLOPE = 1e3
# softplus(SLOPE_SHIFT) + MIN_SLOPE == 1: raw slopes of zero give unit slopes
SLOPE_SHIFT = math.log(math.expm1(1.0 - MIN_SLOPE))


class Bins(NamedTuple):
    """What both passes need of the selected bins, in units where the interval is [0, 1].

    Attributes:
        probs: the softmax of the raw widths and heights, ``(2, K, M)``.
        below: 1 where the point lies below bins ``1, ..., K - 1``, else 0, ``(K - 1, M)``.
        start: where the bin and its image start, ``(2, M)``.
        extent: its width and height, ``(2, M)``.
        slope: the slopes at its two ends, ``(2, M)``.
        xi: place of the point in the bin, in [0, 1], ``(M,)``.
    """

    probs: Tensor
    below: Tensor
    start: Tensor
    extent: Tensor
    slope: Tensor
    xi: Tensor


class Constants(NamedTuple):
    """The numbers of the formulas, as tensors without axes."""

    zero: Tensor
    half: Tensor
    one: Tensor
    bound: Tensor
    period: Tensor
    rate: Tensor
    min_bin_size: Tensor
    min_slope: Tensor
    max_raw_slope: Tensor
    slope_shift: Tensor
    huge: Tensor
    tiny: Tensor


def constants(like: Tensor, bound: float) -> Constants:
    """Return the constants of splines of ``[-bound, bound]``, for tensors like this one."""
    values = (0.0, 0.5, 1.0, bound, 2.0 * bound, 0.5 / bound, MIN_BIN_SIZE, MIN_SLOPE)
    tiny = torch.finfo(like.dtype).tiny
    return Constants(*scalars(like, *values, MAX_RAW_SLOPE, SLOPE_SHIFT, 1e30, tiny))


class Shape(NamedTuple):
    """The shape of the curve at a point of a bin, vectors of length ``M``."""

    secant: Tensor
    curvature: Tensor
    square: Tensor
    mixed: Tensor
    numerator: Tensor
    denominator: Tensor


def evaluate(
    point: Tensor, params: Tensor, num_bins: int, bound: float, inverse: bool
) -> tuple[Tensor, Tensor, Bins]:
    """Evaluate the spline or its inverse at points of ``[-bound, bound]``, without a graph.

    Args:
        point: shape ``(M,)``.
        params: shape ``(3 * num_bins - 1, M)`` or ``(3 * num_bins + 1, M)``.
        num_bins: number ``K`` of bins.
        bound: half-width of the interval.
        inverse: whether to evaluate the inverse.

    Returns:
        The image, the log-derivative and the selected bins.
    """
    k = constants(point, bound)
    unit = (point * k.rate).add_(k.half)
    bins = _select_bins(unit, params, num_bins, inverse, k)
    (left, base), (width, height), xi = bins.start, bins.extent, bins.xi
    secant = height / width
    if inverse:
        _root(unit.sub_(base), height, secant, bins.slope, k, out=xi)
    else:
        torch.div(unit.sub_(left), width, out=xi)
    xi.clamp_(k.zero, k.one)
    shape = shape_of(bins, secant, k)
    log_det = (secant / shape.denominator).square_().mul_(shape.numerator).log_()
    if inverse:
        image, log_det = torch.addcmul(left, xi, width), log_det.neg_()
    else:
        image = fraction_of(bins, shape).mul_(height).add_(base)
    return image.sub_(k.half).mul_(k.period), log_det, bins


def shape_of(bins: Bins, secant: Tensor, k: Constants) -> Shape:
    xi, (left, right) = bins.xi, bins.slope
    square = xi.square()
    mixed = xi - square
    curvature = (left + right).sub_(secant, alpha=2.0)
    # a sum of positive terms: nothing cancels
    numerator = (k.one - xi).square_().mul_(left)
    numerator.addcmul_(right, square).addcmul_(secant, mixed, value=2.0)
    denominator = torch.addcmul(secant, curvature, mixed)
    return Shape(secant, curvature, square, mixed, numerator, denominator)


def fraction_of(bins: Bins, shape: Shape) -> Tensor:
    r"""Return :math:`\gamma`, the part of the bin's height below the image."""
    numerator = (shape.secant * shape.square).addcmul_(bins.slope[0], shape.mixed)
    return numerator.div_(shape.denominator)


def _root(
    offset: Tensor, height: Tensor, secant: Tensor, slope: Tensor, k: Constants, out: Tensor
) -> None:
    """Write the root of Durkan et al. 2019, equations 29-31; overwrites ``offset``."""
    rise = height * slope[0]
    bent = (slope[0] + slope[1]).sub_(secant, alpha=2.0).mul_(offset)
    b = rise - bent
    a = bent.sub_(rise).addcmul_(height, secant)
    minus_c = offset.mul_(secant)
    root = b.square().addcmul_(a, minus_c, value=4.0)
    root.clamp_(min=k.tiny).sqrt_().add_(b)
    torch.addcdiv(k.zero, minus_c, root, value=2.0, out=out)


def _select_bins(unit: Tensor, params: Tensor, num_bins: int, inverse: bool, k: Constants) -> Bins:
    """Return the bins in which points of [0, 1] lie, all but ``xi``, which is left empty.

    Bins are selected by arithmetic on 0 and 1, several times faster than comparing and gathering:
    ``lerp`` is exact at both.
    """
    probs = params[: 2 * num_bins].view(2, num_bins, unit.shape[0]).softmax(1)
    table = _table(probs, params[2 * num_bins :], k)
    below = torch.sub(table[1:, int(inverse)], unit).mul_(k.huge).clamp_(k.zero, k.one)
    *others, last = table.unbind(0)
    chosen = last.clone()
    for row, weight in zip(reversed(others), reversed(below.unbind(0)), strict=True):
        chosen.lerp_(row, weight)
    slope = softplus(chosen[4:].clamp_(max=k.max_raw_slope).add_(k.slope_shift)).add_(k.min_slope)
    return Bins(probs, below, chosen[:2], chosen[2:4], slope, torch.empty_like(unit))


def _table(probs: Tensor, slopes: Tensor, k: Constants) -> Tensor:
    """Return starts, extents and raw end slopes of every bin, ``(K, 6, M)``."""
    num_bins, size = probs.shape[1:]
    table = probs.new_empty(num_bins, 6, size)
    starts, extents, ends = table.split(2, 1)
    scale = 1.0 - MIN_BIN_SIZE * num_bins
    torch.add(k.min_bin_size, probs.transpose(0, 1), alpha=scale, out=extents)
    starts, extents = starts.unbind(0), extents.unbind(0)
    starts[0].zero_()
    for i in range(1, num_bins):
        torch.add(starts[i - 1], extents[i - 1], out=starts[i])
    if slopes.shape[0] < num_bins:
        # raw slopes of zero at both ends: unit slopes meet the linear tails
        ends[0, 0].zero_()
        ends[-1, 1].zero_()
        ends[1:, 0] = slopes
        ends[:-1, 1] = slopes
    else:
        ends[:, 0] = slopes[:-1]
        ends[:, 1] = slopes[1:]
    return table
