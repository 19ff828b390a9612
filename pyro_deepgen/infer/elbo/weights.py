r"""Bounds as functions of log weights, and what their gradients need.

.. math::
    L_\alpha = \frac{1}{1 - \alpha} \log \frac1K \sum_k w_k^{1 - \alpha}, \qquad
    \tilde w_k = \frac{w_k^{1 - \alpha}}{\sum_j w_j^{1 - \alpha}}

of which 1 is the mean log weight, infinity the least and minus infinity the largest log weight
(Li & Turner 2016, eq. 6 and 9).
"""

import math

import torch
from torch import Tensor

__all__ = ["leave_one_out", "normalized_weights", "path_factor", "renyi_bound"]

# closer to 1, powers of weights lose their digits
NEAR_ONE = 0.1


def renyi_bound(log_weights: Tensor, alpha: float) -> Tensor:
    """The bound of log weights of shape ``(K, ...)``, shape ``(...)``."""
    if alpha == 1.0:
        return log_weights.mean(0)
    if math.isinf(alpha):
        return log_weights.amin(0) if alpha > 0 else log_weights.amax(0)
    order = 1.0 - alpha
    if abs(order) >= NEAR_ONE:
        total = torch.logsumexp(order * log_weights, 0)
        return (total - math.log(len(log_weights))) / order
    top = (log_weights.amax(0) if order > 0 else log_weights.amin(0)).detach()
    powers = torch.expm1(order * (log_weights - top))
    return top + torch.log1p(powers.mean(0)) / order


def normalized_weights(log_weights: Tensor, alpha: float) -> Tensor:
    """The weights of the particles in the gradient of the bound, shape ``(K, ...)``."""
    return torch.softmax((1.0 - alpha) * log_weights, 0)


def path_factor(log_weights: Tensor, alpha: float) -> Tensor:
    r"""What the path derivative of each particle is multiplied by, besides its weight.

    .. math:: \alpha + (1 - \alpha) \tilde w_k

    For ``alpha = 0`` it makes the squared weights of Tucker et al. (2019), eq. 8; for 1 it is one.
    """
    return alpha + (1.0 - alpha) * normalized_weights(log_weights, alpha)


def leave_one_out(log_weights: Tensor, alpha: float) -> Tensor:
    """The bound with each weight in turn replaced by the geometric mean of the others.

    As of Mnih & Rezende (2016), eq. 9 and 10. Shape ``(K, ...)``.
    """
    count = len(log_weights)
    own = torch.eye(count, dtype=torch.bool, device=log_weights.device)
    own = own.reshape((count, count) + (1,) * (log_weights.dim() - 1))
    others = torch.where(own, 0.0, log_weights[:, None]).sum(0) / (count - 1)
    return renyi_bound(torch.where(own, others[None], log_weights[:, None]), alpha)
