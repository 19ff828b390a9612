r"""Monotone rational-quadratic splines with linear tails.

On bin ``k`` with left knot :math:`(x_k, y_k)`, width :math:`w`, height :math:`h`, secant
:math:`s = h / w` and end slopes :math:`d_0, d_1`, with :math:`\xi = (x - x_k) / w`,

.. math::
    y = y_k + \frac{h \, (s \xi^2 + d_0 \xi (1 - \xi))}{s + (d_1 + d_0 - 2 s) \xi (1 - \xi)}.

Outside ``[-bound, bound]`` the spline is the identity (Gregory & Delbourgo 1982; Durkan et al.
2019). Bins lie on the axis before the last. The bin is selected first, and only its two slopes are
activated. Derivatives of both steps are analytic, forward and reverse, of any order.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from ._bins import MIN_BIN_SIZE, select_bin
from ._clamp import clamp
from ._rational_quadratic import curve, inverse_curve

__all__ = ["MIN_BIN_SIZE", "rational_quadratic_spline"]


@partial(jax.jit, static_argnames=("bound", "inverse"))
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
    dtype = jnp.result_type(x, widths, heights, slopes)
    x, widths, heights, slopes = (a.astype(dtype) for a in (x, widths, heights, slopes))
    inside = (x > -bound) & (x < bound)
    point = clamp(x, -bound, bound)
    x_left, width, y_left, height, *end_slopes = select_bin(
        point, widths, heights, slopes, bound, inverse
    )
    secant = height / width
    if inverse:
        u = clamp((point - y_left) / height, 0.0, 1.0)
        xi, log_det = inverse_curve(u, secant, *end_slopes)
        image = x_left + width * xi
    else:
        xi = clamp((point - x_left) / width, 0.0, 1.0)
        u, log_det = curve(xi, secant, *end_slopes)
        image = y_left + height * u
    image = clamp(image, -bound, bound)
    return jnp.where(inside, image, x), jnp.where(inside, log_det, jnp.zeros_like(log_det))
