"""Planar transforms, with a true inverse."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...nn import ConditionalParameters
from ...ops.constraining import above_minus_one
from ...ops.root_finding import tanh_root
from .base import Transform

__all__ = ["Planar"]


class Planar(Transform):
    r"""The transform :math:`y = x + \hat u \tanh(w^T x + b)`, invertible for all parameters.

    Invertibility needs :math:`w^T \hat u > -1`, so
    :math:`\hat u = u + (m(w^T u) - w^T u)\, w / |w|^2` with
    :math:`m(a) = (1 - \epsilon) (\mathrm{softplus}(a + \log(e - 1)) - 1) > -1`,
    :math:`\epsilon = 10^{-3}`, which keeps :math:`u = 0` the identity.
    The inverse solves :math:`s + w^T \hat u \tanh s = w^T y + b`, one increasing scalar equation a
    point, inside an exact bracket, with implicit gradients.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> Planar(3)(torch.ones(4, 3)).shape
        torch.Size([4, 3])

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, equations 10-12 and
        appendix A.1.
    """

    fast = "forward"

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        weight = torch.randn(self.input_dim) / math.sqrt(self.input_dim)
        init = torch.cat([torch.zeros(self.input_dim), weight, torch.zeros(1)])
        self.parameter_net = ConditionalParameters(
            init.numel(), context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ``u_hat``, ``w``, ``b`` and the product ``w^T u_hat``."""
        sizes = [self.input_dim, self.input_dim, 1]
        u, w, b = self.parameter_net(context).split(sizes, -1)
        raw = (u * w).sum(-1, keepdim=True)
        norm = w.square().sum(-1, keepdim=True) + torch.finfo(w.dtype).tiny ** 0.5
        # appendix A.1, with a shifted softplus
        product = above_minus_one(raw)
        return u + (product - raw) * (w / norm), w, b[..., 0], product[..., 0]

    @staticmethod
    def _log_det(s: Tensor, product: Tensor) -> Tensor:
        # equation 12: det = 1 + w^T u_hat (1 - tanh^2 s)
        return torch.log1p(product * (1.0 - torch.tanh(s).square()))

    def forward_and_log_det(self, x, context=None):
        u, w, b, product = self._params(context)
        s = (x * w).sum(-1) + b
        return x + u * torch.tanh(s).unsqueeze(-1), self._log_det(s, product)

    def inverse_and_log_det(self, y, context=None):
        u, w, b, product = self._params(context)
        target = (y * w).sum(-1) + b
        s = tanh_root(product, target)
        return y - u * torch.tanh(s).unsqueeze(-1), -self._log_det(s, product)
