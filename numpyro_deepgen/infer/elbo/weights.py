r"""Bounds as functions of log weights, and what their gradients need.

.. math::
    L_\alpha = \frac{1}{1 - \alpha} \log \frac1K \sum_k w_k^{1 - \alpha}, \qquad
    \tilde w_k = \frac{w_k^{1 - \alpha}}{\sum_j w_j^{1 - \alpha}}

of which 1 is the mean log weight, infinity the least and minus infinity the largest log weight
(Li & Turner 2016, eq. 6 and 9).
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp

__all__ = ["leave_one_out", "normalized_weights", "path_factor", "renyi_bound", "scale_gradient"]

# closer to 1, powers of weights lose their digits
NEAR_ONE = 0.1


def renyi_bound(log_weights: Array, alpha: float) -> Array:
    """The bound of log weights of shape ``(K, ...)``, shape ``(...)``."""
    if alpha == 1.0:
        return log_weights.mean(0)
    if math.isinf(alpha):
        return log_weights.min(0) if alpha > 0 else log_weights.max(0)
    order = 1.0 - alpha
    if abs(order) >= NEAR_ONE:
        total = logsumexp(order * log_weights, 0)
        return (total - math.log(len(log_weights))) / order
    top = lax.stop_gradient(log_weights.max(0) if order > 0 else log_weights.min(0))
    powers = jnp.expm1(order * (log_weights - top))
    return top + jnp.log1p(powers.mean(0)) / order


def normalized_weights(log_weights: Array, alpha: float) -> Array:
    """The weights of the particles in the gradient of the bound, shape ``(K, ...)``."""
    return jax.nn.softmax((1.0 - alpha) * log_weights, 0)


def path_factor(log_weights: Array, alpha: float) -> Array:
    r"""What the path derivative of each particle is multiplied by, besides its weight.

    .. math:: \alpha + (1 - \alpha) \tilde w_k

    For ``alpha = 0`` it makes the squared weights of Tucker et al. (2019), eq. 8; for 1 it is one.
    """
    return alpha + (1.0 - alpha) * normalized_weights(log_weights, alpha)


def leave_one_out(log_weights: Array, alpha: float) -> Array:
    """The bound with each weight in turn replaced by the geometric mean of the others.

    As of Mnih & Rezende (2016), eq. 9 and 10. Shape ``(K, ...)``.
    """
    count = len(log_weights)
    own = jnp.eye(count, dtype=bool).reshape((count, count) + (1,) * (log_weights.ndim - 1))
    others = jnp.where(own, 0.0, log_weights[:, None]).sum(0) / (count - 1)
    return renyi_bound(jnp.where(own, others[None], log_weights[:, None]), alpha)


@jax.custom_vjp
def scale_gradient(x: Array, factor: Array) -> Array:
    """The array itself, its gradient multiplied by a factor."""
    return x


def _forward(x: Array, factor: Array) -> tuple[Array, Array]:
    return x, factor


def _backward(factor: Array, gradient: Array) -> tuple[Array, Array]:
    return gradient * factor, jnp.zeros_like(factor)


scale_gradient.defvjp(_forward, _backward)
