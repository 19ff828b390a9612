r"""One piece of a rational-quadratic spline, between two knots of the unit square.

With the secant :math:`s` and the slopes :math:`d_0, d_1` at the ends, all positive,

.. math::
    R(\xi) = \frac{s \xi^2 + d_0 \xi (1 - \xi)}{q}, \qquad
    s R'(\xi) = \frac{s^2 \, n}{q^2},

.. math::
    q = s + (d_0 + d_1 - 2 s) \, \xi (1 - \xi), \qquad
    n = d_1 \xi^2 + 2 s \, \xi (1 - \xi) + d_0 (1 - \xi)^2

(Gregory & Delbourgo 1982; Durkan et al. 2019, equations 4-5). The derivatives of ``R`` and of
:math:`L = \log s R'` are written out below in terms of ``R``, ``q`` and ``n``, which the values
need too. Those of the inverse follow from :math:`R(\xi; s, d_0, d_1) = u`:

.. math::
    d\xi = (du - R_s \, ds - R_{d_0} \, dd_0 - R_{d_1} \, dd_1) / R_\xi .
"""

import jax
import jax.numpy as jnp
from jax import Array

from ._clamp import clamp

__all__ = ["curve", "inverse_curve"]


@jax.custom_jvp
def curve(xi: Array, secant: Array, left_slope: Array, right_slope: Array) -> tuple[Array, Array]:
    r"""Return :math:`R` and :math:`L` at ``xi`` in [0, 1]."""
    image, numerator, denominator = _value(xi, secant, left_slope, right_slope)
    return image, jnp.log(jnp.square(secant / denominator) * numerator)


@curve.defjvp
def _curve_jvp(primals, tangents):
    by_image, by_log_slope = _derivatives(*primals)
    return curve(*primals), (_dot(by_image, tangents), _dot(by_log_slope, tangents))


@jax.custom_jvp
def inverse_curve(
    u: Array, secant: Array, left_slope: Array, right_slope: Array
) -> tuple[Array, Array]:
    r"""Return the :math:`\xi` with :math:`R(\xi) = u` in [0, 1], and :math:`-L` there."""
    # equations 29-31 of Durkan et al. for a unit square: a xi^2 + b xi + c = 0
    curvature = left_slope + right_slope - 2.0 * secant
    a = (secant - left_slope) + u * curvature
    b = left_slope - u * curvature
    c = -secant * u
    tiny = jnp.finfo(u.dtype).tiny
    discriminant = jnp.square(b) - 4.0 * a * c
    root = jnp.sqrt(jnp.where(discriminant < tiny, tiny, discriminant))
    xi = clamp(2.0 * c / (-b - root), 0.0, 1.0)
    return xi, -curve(xi, secant, left_slope, right_slope)[1]


@inverse_curve.defjvp
def _inverse_curve_jvp(primals, tangents):
    values = inverse_curve(*primals)
    du, *d_shape = tangents
    by_image, by_log_slope = _derivatives(values[0], *primals[1:])
    d_xi = (du - _dot(by_image[1:], d_shape)) / by_image[0]
    return values, (d_xi, -_dot(by_log_slope, (d_xi, *d_shape)))


def _value(xi, secant, left_slope, right_slope):
    mixed = xi * (1.0 - xi)
    denominator = secant + (left_slope + right_slope - 2.0 * secant) * mixed
    numerator = (
        right_slope * jnp.square(xi) + 2.0 * secant * mixed + left_slope * jnp.square(1.0 - xi)
    )
    image = (secant * jnp.square(xi) + left_slope * mixed) / denominator
    return image, numerator, denominator


def _derivatives(xi, secant, left_slope, right_slope):
    """Return the derivatives of ``R``, and those of ``L``, by all four arguments."""
    image, numerator, denominator = _value(xi, secant, left_slope, right_slope)
    mixed, skew = xi * (1.0 - xi), 1.0 - 2.0 * xi
    over_q, over_n = 1.0 / denominator, 1.0 / numerator
    # 1 - 2 mixed is the derivative of q by s
    by_secant = 1.0 - 2.0 * mixed
    by_image = (
        secant * numerator * jnp.square(over_q),
        (jnp.square(xi) - image * by_secant) * over_q,
        (1.0 - image) * mixed * over_q,
        -image * mixed * over_q,
    )
    half_by_n = right_slope * xi + secant * skew - left_slope * (1.0 - xi)
    half_by_q = (left_slope + right_slope - 2.0 * secant) * skew
    by_log_slope = (
        2.0 * (half_by_n * over_n - half_by_q * over_q),
        2.0 / secant + 2.0 * mixed * over_n - 2.0 * by_secant * over_q,
        jnp.square(1.0 - xi) * over_n - 2.0 * mixed * over_q,
        jnp.square(xi) * over_n - 2.0 * mixed * over_q,
    )
    return by_image, by_log_slope


def _dot(coefficients, tangents):
    return sum(c * t for c, t in zip(coefficients, tangents, strict=True))
