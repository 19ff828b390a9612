"""Layers of vectors in top-down models, normalised without running statistics."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..distributions import ConditionalDistribution
from ..distributions.conditionals import Conditional
from ..nn import Dense, GroupNorm
from ..nn.activations import activation_function

__all__ = ["NormalizedDense", "flat_decoder"]


class NormalizedDense(nn.Module):
    """Linear layers, each normalised over its units and activated.

    Args:
        input_dim: size of the input.
        hidden_dims: widths of the layers, one or more.
        activation: what follows each layer.
    """

    def __init__(self, input_dim: int, hidden_dims: Sequence[int], activation: str | Callable):
        super().__init__()
        self.activation = activation_function(activation)
        pairs = list(zip((input_dim, *hidden_dims), hidden_dims, strict=False))
        self.layers = nn.ModuleList(Dense(a, b, ()) for a, b in pairs)
        self.norms = nn.ModuleList(GroupNorm(b, spatial_dims=0) for _, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
        return x


def flat_decoder(
    input_dim: int,
    hidden_dims: Sequence[int],
    event_shape: Sequence[int],
    conditional: Conditional,
    activation: str | Callable,
) -> ConditionalDistribution:
    """A decoder of vectors."""
    size = conditional.num_params
    for length in event_shape:
        size *= length
    network = Dense(input_dim, size, hidden_dims, activation)
    return ConditionalDistribution(network, conditional, event_shape)
