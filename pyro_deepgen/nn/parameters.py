"""A vector of parameters, constant or a network's output."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._numerics.checks import check_context_shape, check_positive_int
from .dense import Dense

__all__ = ["ConditionalParameters"]


class ConditionalParameters(nn.Module):
    r"""A learned vector, plus a network of the context where there is one.

    .. math:: \theta(c) = \theta_0 + f(c), \qquad f = 0 \text{ at the start.}

    Args:
        num_params: length of the vector; zero is allowed.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        init: starting value of :math:`\theta_0`, shape ``(num_params,)``, default zeros.

    Shape:
        context ``batch_shape + (context_dim,)`` to ``batch_shape + (num_params,)``; ``None`` to
        ``(num_params,)``.

    Example:
        >>> ConditionalParameters(4)().shape
        torch.Size([4])
    """

    def __init__(
        self,
        num_params: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        init: Tensor | None = None,
    ):
        super().__init__()
        self.num_params = check_positive_int("num_params", num_params, minimum=0)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        if init is None:
            init = torch.zeros(num_params)
        self.bias = nn.Parameter(init.detach().clone())
        self.network = None
        if context_dim and num_params:
            self.network = Dense(
                context_dim, num_params, hidden_dims, activation, zero_init=True, final_bias=False
            )

    def forward(self, context: Tensor | None = None) -> Tensor:
        check_context_shape(None if context is None else context.shape, self.context_dim)
        if context is None:
            return self.bias
        if self.network is None:
            return self.bias.expand(context.shape[:-1] + (self.num_params,))
        return self.bias + self.network(context)
