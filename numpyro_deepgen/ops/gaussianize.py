r"""The map between logistic and normal variables, right far out.

.. math::
    y = \Phi^{-1}(\sigma(v)), \qquad v = \log \Phi(y) - \log \Phi(-y),

computed in log space: no probability is ever formed, so that nothing saturates.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import log_ndtr

from ._clamp import clamp
from .root_finding import implicit_root

__all__ = ["logit_to_normal", "normal_to_logit"]

# dv / dy at zero, 4 phi(0)
CENTRAL_SLOPE = 4.0 / math.sqrt(2.0 * math.pi)
FAR = 30.0
NEWTON_STEPS = 8
# terms of the host's asymptotic series, enough where it starts to be used
SERIES_ORDER = 12


def normal_to_logit(y: Array) -> tuple[Array, Array]:
    r"""Return :math:`v = \operatorname{logit} \Phi(y)` and :math:`\log dv / dy`, elementwise."""
    # dv / dy = phi(y) / (Phi(y) Phi(-y))
    size = jnp.abs(y)
    return _log_cdf(y) - _log_cdf(-y), _log_hazard(size) - _log_cdf(size)


def logit_to_normal(v: Array) -> tuple[Array, Array]:
    r"""Return :math:`y = \Phi^{-1}(\sigma(v))` and :math:`\log dy / dv`, elementwise.

    The inverse of :func:`normal_to_logit` is convex on the positive side, where the smaller of two
    bounds from above starts Newton's method: it converges from that side in a few steps.
    """
    size = jnp.abs(lax.stop_gradient(v))

    def residual(y):
        value, log_slope = normal_to_logit(y)
        return value - v, jnp.exp(log_slope)

    def advance(_, y):
        value, log_slope = normal_to_logit(y)
        return clamp(y - (value - size) * jnp.exp(-log_slope), 0.0)

    y = jnp.minimum(size / CENTRAL_SLOPE, jnp.sqrt(2.0 * size))
    y = lax.fori_loop(0, NEWTON_STEPS, advance, y)
    y = implicit_root(residual, jnp.where(v < 0, -y, y))
    return y, -normal_to_logit(y)[1]


@jax.custom_jvp
def _log_cdf(y: Array) -> Array:
    r"""Return :math:`\log \Phi(y)`, whose derivative is right far out too."""
    return log_ndtr(y, series_order=SERIES_ORDER)


@_log_cdf.defjvp
def _log_cdf_jvp(primals, tangents):
    (y,), (d_y,) = primals, tangents
    return _log_cdf(y), jnp.exp(_log_hazard(-y)) * d_y


def _log_hazard(y: Array) -> Array:
    r"""Return :math:`\log (\phi(y) / \Phi(-y))` without cancellation far out."""
    near, far = clamp(y, upper=FAR), clamp(y, FAR)
    direct = -0.5 * jnp.square(near) - 0.5 * math.log(2.0 * math.pi) - _log_cdf(-near)
    # the asymptotic series, right to rounding beyond FAR
    u = jnp.square(1.0 / far)
    series = u * (1.0 + u * (-3.0 + u * (15.0 - 105.0 * u)))
    return jnp.where(y > FAR, jnp.log(far) - jnp.log1p(-series), direct)
