"""Fully connected networks."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int
from .activations import activation_function

__all__ = ["Dense"]


class Dense(nn.Module):
    r"""A multilayer perceptron :math:`x \mapsto W_L \sigma(\ldots \sigma(W_0 x + b_0)) + b_L`.

    Args:
        input_dim: size of the last dimension of the input.
        output_dim: size of the last dimension of the output.
        hidden_dims: widths of the hidden layers; empty gives one linear layer.
        activation: ``'silu'``, ``'relu'``, ``'tanh'``, ``'elu'``, ``'gelu'``, ``'softplus'`` or a
            callable.
        zero_init: whether the last layer starts at zero, so that the output does.
        final_bias: whether the last layer has a bias.

    Shape:
        ``batch_shape + (input_dim,)`` to ``batch_shape + (output_dim,)``, any ``batch_shape``.

    Example:
        >>> import torch
        >>> Dense(3, 2, hidden_dims=(8,))(torch.zeros(5, 4, 3)).shape
        torch.Size([5, 4, 2])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        zero_init: bool = False,
        final_bias: bool = True,
    ):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.output_dim = check_positive_int("output_dim", output_dim)
        self.activation = activation_function(activation)
        dims = (self.input_dim, *check_dims("hidden_dims", hidden_dims), self.output_dim)
        last = len(dims) - 2
        self.layers = nn.ModuleList(
            nn.Linear(dims[i], dims[i + 1], bias=final_bias or i < last) for i in range(last + 1)
        )
        if zero_init:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
