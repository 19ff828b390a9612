r"""The logit of a mixture of logistic distribution functions.

.. math::
    v(x) = \operatorname{logit} \sum_k \pi_k \, \sigma(z_k), \qquad z_k = (x - m_k) \, e^{-s_k}.

Both :math:`\log \sum_k \pi_k \sigma(z_k)` and :math:`\log \sum_k \pi_k \sigma(-z_k)` are sums in
log space, so that the map is right far out, where it is linear with the slope of the widest
component: it is onto the line.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["mixture_logit"]


def mixture_logit(
    x: Tensor, logits: Tensor, locs: Tensor, log_scales: Tensor
) -> tuple[Tensor, Tensor]:
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
    z = (x.unsqueeze(-2) - locs) * (-log_scales).exp()
    log_weights = logits.log_softmax(-2)
    log_below, log_above = logsigmoid(z), logsigmoid(-z)
    below, above = log_weights + log_below, log_weights + log_above
    value = below.logsumexp(-2) - above.logsumexp(-2)
    terms = torch.cat([below.log_softmax(-2) + log_above, above.log_softmax(-2) + log_below], -2)
    log_scales = log_scales.expand(z.shape)
    return value, (terms - torch.cat([log_scales, log_scales], -2)).logsumexp(-2)
