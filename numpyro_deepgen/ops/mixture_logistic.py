r"""The logit of a mixture of logistic distribution functions.

.. math::
    v(x) = \operatorname{logit} \sum_k \pi_k \, \sigma(z_k), \qquad z_k = (x - m_k) \, e^{-s_k}.

Both :math:`\log \sum_k \pi_k \sigma(z_k)` and :math:`\log \sum_k \pi_k \sigma(-z_k)` are sums in
log space, so that the map is right far out, where it is linear with the slope of the widest
component: it is onto the line.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import log_softmax
from jax.scipy.special import logsumexp

__all__ = ["mixture_logit"]


def mixture_logit(x: Array, logits: Array, locs: Array, log_scales: Array) -> tuple[Array, Array]:
    r"""Evaluate :math:`v(x)` and :math:`\log v'(x)`.

    With the responsibilities :math:`\alpha_k \propto \pi_k \sigma(z_k)` and
    :math:`\beta_k \propto \pi_k \sigma(-z_k)` the derivative is a sum of positive terms,
    :math:`v' = \sum_k e^{-s_k} (\alpha_k \sigma(-z_k) + \beta_k \sigma(z_k))`.

    Args:
        x: points, shape ``batch_shape + (D,)``.
        logits: unnormalised log-weights, shape broadcastable to ``batch_shape + (K, D)``.
        locs: locations ``m``, same shape.
        log_scales: log-scales ``s``, same shape.

    Returns:
        Both ``batch_shape + (D,)``.
    """
    z = (x[..., None, :] - locs) * jnp.exp(-log_scales)
    log_weights = log_softmax(logits, -2)
    log_below, log_above = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
    below, above = log_weights + log_below, log_weights + log_above
    value = logsumexp(below, -2) - logsumexp(above, -2)
    terms = [log_softmax(below, -2) + log_above, log_softmax(above, -2) + log_below]
    return value, logsumexp(jnp.concatenate([t - log_scales for t in terms], -2), -2)
