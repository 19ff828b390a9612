"""Arrays as the vectors that a network of vectors takes."""

import torch
from torch import Tensor, nn

from .._numerics.checks import check_positive_int

__all__ = ["FlatInputs", "as_numbers"]


class FlatInputs(nn.Module):
    r"""A network of vectors, applied to arrays of any shape and to a context beside them.

    Args:
        network: module that maps ``batch_shape + (n,)`` to ``batch_shape + (m,)``.
        event_dim: number of dimensions of one input.
        input_range: lowest and highest entry of the inputs, which are then rescaled to
            :math:`[-1, 1]`, or None to take them as they are.

    Shape:
        ``batch_shape + event_shape``, and perhaps ``batch_shape + (context_dim,)``, to
        ``batch_shape + (m,)``; ``n`` is the number of entries of both. The batch shapes broadcast.

    Example:
        >>> import torch
        >>> from pyro_deepgen.nn import Dense
        >>> network = FlatInputs(Dense(64 + 3, 2), event_dim=2)
        >>> network(torch.zeros(5, 8, 8), torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        network: nn.Module,
        event_dim: int = 1,
        input_range: tuple[float, float] | None = None,
    ):
        super().__init__()
        self.network = network
        self.event_dim = check_positive_int("event_dim", event_dim)
        self.input_range = input_range

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.network(self.vectors(x, context))

    def vectors(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What the network is given."""
        x = as_numbers(x, self.network, self.input_range).flatten(-self.event_dim)
        if context is None:
            return x
        shape = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
        return torch.cat([t.expand(shape + t.shape[-1:]) for t in (x, context)], -1)


def as_numbers(x: Tensor, network: nn.Module, input_range: tuple | None = None) -> Tensor:
    """Inputs in the precision of a network if they are whole numbers, and rescaled."""
    if not x.is_floating_point():
        x = x.to(next(network.parameters()).dtype)
    if input_range is None:
        return x
    low, high = input_range
    return (x - low) * (2.0 / (high - low)) - 1.0
