r"""Monotone rational-quadratic splines with linear tails.

On bin ``k`` with left knot :math:`(x_k, y_k)`, width :math:`w`, height :math:`h`, secant
:math:`s = h / w` and end slopes :math:`d_0, d_1`, with :math:`\xi = (x - x_k) / w`,

.. math::
    y = y_k + \frac{h \, (s \xi^2 + d_0 \xi (1 - \xi))}{s + (d_1 + d_0 - 2 s) \xi (1 - \xi)}.

Outside ``[-bound, bound]`` the spline is the identity (Gregory & Delbourgo 1982; Durkan et al.
2019). Bins lie on the axis before the last, so that softmax, cumulative sum and search run over
strided rows. The bin is picked by a sum over an indicator, whose derivative needs no scatter, and
only the two slopes of that bin are activated.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from ._clamp import clamp

__all__ = ["rational_quadratic_spline"]

MIN_BIN_SIZE = 1e-3
MIN_SLOPE = 1e-3
# keeps products of slopes finite in float32, whatever a network puts out
MAX_RAW_SLOPE = 1e3
# softplus(SLOPE_SHIFT) + MIN_SLOPE == 1: raw slopes of zero give unit slopes
SLOPE_SHIFT = math.log(math.expm1(1.0 - MIN_SLOPE))


def rational_quadratic_spline(
    x: Array,
    widths: Array,
    heights: Array,
    slopes: Array,
    bound: float,
    inverse: bool = False,
) -> tuple[Array, Array]:
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
    point = clamp(x, -bound, bound)
    searched = y_knots if inverse else x_knots
    chosen = _indicator(point, searched)

    x_left, width = _select_bin(x_knots, chosen)
    y_left, height = _select_bin(y_knots, chosen)
    if slopes.shape[-2] < widths.shape[-2]:
        # raw slopes of zero at both ends: unit slopes meet the linear tails
        slopes = jnp.pad(slopes, [(0, 0)] * (slopes.ndim - 2) + [(1, 1), (0, 0)])
    left_slope, right_slope = _select_slopes(slopes, chosen)
    secant = height / width
    curvature = left_slope + right_slope - 2.0 * secant

    if inverse:
        # equations 29-31: the root of a xi^2 + b xi + c in [0, 1]
        offset = point - y_left
        a = height * (secant - left_slope) + offset * curvature
        b = height * left_slope - offset * curvature
        c = -secant * offset
        tiny = jnp.finfo(point.dtype).tiny
        discriminant = jnp.square(b) - 4.0 * a * c
        root = jnp.sqrt(jnp.where(discriminant < tiny, tiny, discriminant))
        xi = clamp(2.0 * c / (-b - root), 0.0, 1.0)
    else:
        xi = clamp((point - x_left) / width, 0.0, 1.0)

    mixed = xi * (1.0 - xi)
    denominator = secant + curvature * mixed
    # equation 5: the derivative of the spline at xi
    log_det = (
        2.0 * jnp.log(secant)
        + jnp.log(
            right_slope * jnp.square(xi) + 2.0 * secant * mixed + left_slope * jnp.square(1.0 - xi)
        )
        - 2.0 * jnp.log(denominator)
    )
    if inverse:
        image, log_det = x_left + xi * width, -log_det
    else:
        # equation 4
        image = y_left + height * (secant * jnp.square(xi) + left_slope * mixed) / denominator
    return jnp.where(inside, image, x), jnp.where(inside, log_det, jnp.zeros_like(log_det))


def _knots(sizes: Array, bound: float) -> Array:
    """Turn unnormalised sizes ``(..., K, D)`` into knots ``(..., K + 1, D)``."""
    num_bins = sizes.shape[-2]
    sizes = MIN_BIN_SIZE + (1.0 - MIN_BIN_SIZE * num_bins) * jax.nn.softmax(sizes, -2)
    interior = bound * (2.0 * jnp.cumsum(sizes[..., :-1, :], -2) - 1.0)
    edge = jnp.full_like(sizes[..., :1, :], bound)
    return jnp.concatenate([-edge, interior, edge], -2)


def _indicator(point: Array, knots: Array) -> Array:
    """Return booleans ``(..., K, D)``, true in the bin of each point (left edges included)."""
    passed = point[..., None, :] >= knots[..., 1:-1, :]
    first = jnp.ones_like(passed[..., :1, :])
    return jnp.concatenate([first, passed], -2) & jnp.concatenate([~passed, first], -2)


def _select(values: Array, chosen: Array) -> Array:
    return jnp.where(chosen, values, 0.0).sum(-2)


def _select_bin(knots: Array, chosen: Array) -> tuple[Array, Array]:
    left = _select(knots[..., :-1, :], chosen)
    return left, _select(knots[..., 1:, :], chosen) - left


def _select_slopes(slopes: Array, chosen: Array) -> tuple[Array, Array]:
    left = clamp(_select(slopes[..., :-1, :], chosen), upper=MAX_RAW_SLOPE)
    right = clamp(_select(slopes[..., 1:, :], chosen), upper=MAX_RAW_SLOPE)
    softplus = jax.nn.softplus
    return softplus(left + SLOPE_SHIFT) + MIN_SLOPE, softplus(right + SLOPE_SHIFT) + MIN_SLOPE
