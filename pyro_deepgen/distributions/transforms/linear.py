"""Invertible linear layers."""

from collections.abc import Callable, Sequence

from torch import Tensor

from ...nn import ConditionalParameters
from ...ops.linear import bounded_exp, strict_lower, unit_lower_solve
from .base import Transform

__all__ = ["LULinear"]


class LULinear(Transform):
    r"""The transform :math:`y = L U x + b` with triangular factors.

    ``L`` is unit lower triangular and ``U = e^{s} (I + N)`` (rows scaled), ``N`` strictly upper
    triangular; the log-determinant is :math:`\sum_i s_i`, :math:`|s_i| < 30`. Both directions cost
    ``D^2`` operations a point. Starts as the identity.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> LULinear(2)(torch.ones(2)).tolist()
        [1.0, 1.0]

    References:
        Kingma & Dhariwal 2018, Glow, equations 10-11; Oliva et al. 2018, Transformation
        Autoregressive Networks, section 3.2.
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        half = self.input_dim * (self.input_dim - 1) // 2
        self.sizes = [self.input_dim, self.input_dim, half, half]
        self.parameter_net = ConditionalParameters(
            sum(self.sizes), context_dim, hidden_dims, activation
        )

    def _params(self, context: Tensor | None):
        bias, log_scale, lower, upper = self.parameter_net(context).split(self.sizes, -1)
        log_scale = bounded_exp(log_scale)[1]
        lower = strict_lower(lower, self.input_dim)
        # U is solved with reversed rows and columns, where it is lower triangular
        return bias, log_scale, lower, strict_lower(upper, self.input_dim)

    def forward_and_log_det(self, x, context=None):
        bias, log_scale, lower, upper = self._params(context)
        reversed_x = x.flip(-1)
        u = log_scale.exp() * (x + (upper @ reversed_x.unsqueeze(-1)).squeeze(-1).flip(-1))
        y = u + (lower @ u.unsqueeze(-1)).squeeze(-1) + bias
        return y, log_scale.sum(-1).expand(y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        bias, log_scale, lower, upper = self._params(context)
        u = unit_lower_solve(lower, y - bias) * (-log_scale).exp()
        x = unit_lower_solve(upper, u.flip(-1)).flip(-1)
        return x, -log_scale.sum(-1).expand(x.shape[:-1])
