r"""Distribution functions of Student-t variables, in log space.

With :math:`s = \sqrt\nu \sinh y` the upper tail at :math:`t = \sqrt\nu \sinh y_0 \ge 0` is

.. math::
    S(t) = \frac{1}{2} \cosh(y_0)^{-\nu} \frac{R(y_0)}{R(0)}, \qquad
    R(y_0) = \int_0^\infty \big(\cosh h + \tanh(y_0) \sinh h\big)^{-\nu} dh,

whose smooth integrands are summed over Gauss-Legendre nodes up to where they are
:math:`e^{-40}`. Nothing cancels, and there are derivatives in :math:`t` and :math:`\nu`.
"""

import math

import jax.numpy as jnp
from jax import Array, lax

from .._numerics.quadrature import gauss_legendre
from ._clamp import clamp

__all__ = ["log_student_t_tails"]

NUM_NODES = 64
# log of how far an integrand falls
DEPTH = 40.0
# where the logarithm of the hyperbolic cosine is that of its argument's sinh
FAR = 1e3


def log_student_t_tails(t: Array, df: Array) -> tuple[Array, Array]:
    r"""Return :math:`\log F(t)` and :math:`\log (1 - F(t))` of the standard Student-t variable.

    Args:
        t: points, any shape.
        df: degrees of freedom :math:`\nu`, at least 1, of a shape that broadcasts.
    """
    # not the absolute value, whose derivative at zero is none
    log_far = _log_upper_tail(jnp.where(t < 0, -t, t), df)
    log_near = jnp.log1p(-jnp.exp(log_far))
    return jnp.where(t < 0, log_far, log_near), jnp.where(t < 0, log_near, log_far)


def _log_upper_tail(size: Array, df: Array) -> Array:
    ratio = size / jnp.sqrt(df)
    near, far = clamp(ratio, upper=FAR), clamp(ratio, FAR)
    log_cosh = jnp.where(
        ratio < FAR,
        0.5 * jnp.log1p(jnp.square(near)),
        jnp.log(far) + 0.5 * jnp.log1p(jnp.square(1.0 / far)),
    )
    slope = jnp.tanh(jnp.arcsinh(ratio))
    relative = _log_integral(slope, df) - _log_integral(jnp.zeros_like(slope), df)
    return -math.log(2.0) - df * log_cosh + relative


def _log_integral(slope: Array, df: Array) -> Array:
    r"""Return :math:`\log R` by the slope :math:`\tanh y_0`."""
    nodes, weights = (jnp.asarray(a, slope.dtype) for a in gauss_legendre(NUM_NODES))
    # where cosh h + slope * sinh h is exp(DEPTH / df)
    start, count = lax.stop_gradient((slope, df))
    rise = jnp.expm1(DEPTH / count)
    square = rise * (2.0 + rise)
    rise = rise + square / (jnp.sqrt(square + jnp.square(start)) + start)
    width = jnp.log1p(rise / (1.0 + start))
    h, slope, df = width[..., None] * nodes, slope[..., None], df[..., None]
    base = jnp.log1p(2.0 * jnp.square(jnp.sinh(0.5 * h)) + slope * jnp.sinh(h))
    return jnp.log(width) + jnp.log((jnp.exp(-df * base) * weights).sum(-1))
