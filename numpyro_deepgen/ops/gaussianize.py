r"""The map between logistic and normal variables, right far out.

.. math::
    y = \Phi^{-1}(\sigma(v)), \qquad v = \log \Phi(y) - \log \Phi(-y),

computed in log space: no probability is ever formed, so that nothing saturates.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import log_ndtr, ndtri

from ._clamp import clamp

__all__ = ["log_normal_cdf", "logit_to_normal", "normal_to_logit"]

# where the asymptotic series of the hazard takes over
FAR = 30.0
# where the quantile is taken of a probability, a number of float32
SMALL_TAIL = 60.0
NEWTON_STEPS = 3
# terms of the host's asymptotic series, enough where it starts to be used
SERIES_ORDER = 12


def normal_to_logit(y: Array) -> tuple[Array, Array]:
    r"""Return :math:`v = \operatorname{logit} \Phi(y)` and :math:`\log dv / dy`, elementwise."""
    return log_normal_cdf(y) - log_normal_cdf(-y), _log_slope(y)


def logit_to_normal(v: Array) -> tuple[Array, Array]:
    r"""Return :math:`y = \Phi^{-1}(\sigma(v))` and :math:`\log dy / dv`, elementwise.

    The normal quantile where :math:`\sigma(-|v|)` is a number, or its asymptotic form, starts
    Newton's method for :func:`normal_to_logit`.
    """
    y = _quantile(v)
    return y, -_log_slope(y)


@jax.custom_jvp
def _quantile(v: Array) -> Array:
    size = jnp.abs(v)
    near, far = clamp(size, upper=SMALL_TAIL), clamp(size, SMALL_TAIL)
    quantile = -ndtri(jax.nn.sigmoid(-near))
    # log Phi(-y) is about -y^2 / 2 - log(y sqrt(2 pi))
    asymptotic = jnp.sqrt(2.0 * far - jnp.log(4.0 * math.pi * far))

    def advance(_, y):
        value, log_slope = normal_to_logit(y)
        return y - (value - size) * jnp.exp(-log_slope)

    y = jnp.where(size > SMALL_TAIL, asymptotic, quantile)
    y = lax.fori_loop(0, NEWTON_STEPS, advance, y)
    return jnp.where(v < 0, -y, y)


@_quantile.defjvp
def _quantile_jvp(primals, tangents):
    (v,), (d_v,) = primals, tangents
    y = _quantile(v)
    return y, jnp.exp(-_log_slope(y)) * d_v


@jax.custom_jvp
def log_normal_cdf(y: Array) -> Array:
    r"""Return :math:`\log \Phi(y)`, whose derivative is right far out too."""
    return log_ndtr(y, series_order=SERIES_ORDER)


@log_normal_cdf.defjvp
def _log_normal_cdf_jvp(primals, tangents):
    (y,), (d_y,) = primals, tangents
    return log_normal_cdf(y), jnp.exp(_log_hazard(-y)) * d_y


def _log_slope(y: Array) -> Array:
    r"""Return :math:`\log dv / dy = \log (\phi(y) / (\Phi(y) \Phi(-y)))`."""
    size = jnp.abs(y)
    return _log_hazard(size) - log_normal_cdf(size)


def _log_hazard(y: Array) -> Array:
    r"""Return :math:`\log (\phi(y) / \Phi(-y))` without cancellation far out."""
    near, far = clamp(y, upper=FAR), clamp(y, FAR)
    direct = -0.5 * jnp.square(near) - 0.5 * math.log(2.0 * math.pi) - log_normal_cdf(-near)
    # the asymptotic series, right to rounding beyond FAR
    u = jnp.square(1.0 / far)
    series = u * (1.0 + u * (-3.0 + u * (15.0 - 105.0 * u)))
    return jnp.where(y > FAR, jnp.log(far) - jnp.log1p(-series), direct)
