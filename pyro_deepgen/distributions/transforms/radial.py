"""Radial transforms, with a closed inverse."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...nn import ConditionalParameters
from .base import Transform

__all__ = ["Radial"]

MAX_LOG_SLOPE = 7.0


class Radial(Transform):
    r"""The transform :math:`y = x + \beta \, (x - x_0) / (\alpha + r)`, :math:`r = |x - x_0|`.

    Points are moved along the ray from a centre. Invertibility needs :math:`\beta > -\alpha`, so
    :math:`\beta = \alpha (e^{b} - 1)`, where :math:`e^{b}` is the slope at the centre,
    :math:`|b| < 7`, and :math:`b = 0` is the identity. The distance of ``x`` from the centre solves
    a quadratic equation, so that both directions are in closed form.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> Radial(3)(torch.ones(4, 3)).shape
        torch.Size([4, 3])

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, equation 14 and
        appendix A.2.
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        init = torch.cat([torch.randn(self.input_dim), torch.zeros(2)])
        self.parameter_net = ConditionalParameters(
            init.numel(), context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the centre, ``alpha`` and ``beta``, the latter two with a last dimension of 1."""
        centre, log_alpha, log_slope = self.parameter_net(context).split([self.input_dim, 1, 1], -1)
        alpha = (MAX_LOG_SLOPE * torch.tanh(log_alpha / MAX_LOG_SLOPE)).exp()
        beta = alpha * torch.expm1(MAX_LOG_SLOPE * torch.tanh(log_slope / MAX_LOG_SLOPE))
        return centre, alpha, beta

    def _log_det(self, radius: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        # equation 14: the stretch across the ray, D - 1 times, and along it
        across = torch.log1p(beta / (alpha + radius))
        along = torch.log1p(beta * alpha / (alpha + radius).square())
        return ((self.input_dim - 1) * across + along).squeeze(-1)

    def forward_and_log_det(self, x, context=None):
        centre, alpha, beta = self._params(context)
        offset = x - centre
        radius = _norm(offset)
        return x + offset * (beta / (alpha + radius)), self._log_det(radius, alpha, beta)

    def inverse_and_log_det(self, y, context=None):
        centre, alpha, beta = self._params(context)
        offset = y - centre
        image = _norm(offset)
        # r^2 + (alpha + beta - r') r - alpha r' = 0, the positive root without cancellation
        half = 0.5 * (image - alpha - beta)
        root = (half.square() + alpha * image).sqrt()
        outside = half > 0
        radius = torch.where(
            outside, half + root, alpha * image / torch.where(outside, root, root - half)
        )
        x = centre + offset * ((alpha + radius) / (alpha + beta + radius))
        return x, -self._log_det(radius, alpha, beta)


def _norm(x: Tensor) -> Tensor:
    """Return Euclidean norms, keeping the dimension, with a zero gradient at zero."""
    square = x.square().sum(-1, keepdim=True)
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, torch.ones_like(square)).sqrt(), 0.0)
