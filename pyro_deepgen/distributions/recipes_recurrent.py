"""Recipes of recurrent autoregressive distributions."""

from collections.abc import Sequence

from ..nn import (
    DiagonalBiLSTM,
    RowLSTM,
)
from ._elements import grid_of, in_channels
from .autoregressive import Autoregressive
from .conditionals import Conditional

__all__ = [
    "diagonal_bilstm",
    "row_lstm",
]


def row_lstm(
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dim: int = 16,
    num_layers: int = 7,
    kernel_size: int = 7,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = False,
) -> Autoregressive:
    r"""Recurrence from row to row.

    Args:
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element.
        hidden_dim: width of the states.
        num_layers: number of layers.
        kernel_size: odd size of the first kernel.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.

    Example:
        >>> from pyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> module = row_lstm((4, 4), BernoulliConditional(), hidden_dim=2)
        >>> module().sample().shape
        torch.Size([4, 4])

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks.
    """
    network = RowLSTM(
        grid_of(event_shape, conditional),
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        kernel_size=kernel_size,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
    )
    return Autoregressive(network, conditional, event_shape, order)


def diagonal_bilstm(
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dim: int = 16,
    num_layers: int = 7,
    kernel_size: int = 7,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = False,
) -> Autoregressive:
    r"""Recurrence along the diagonals.

    Args:
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element.
        hidden_dim: width of the states.
        num_layers: number of layers.
        kernel_size: odd size of the first kernel.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.

    Example:
        >>> from pyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> module = diagonal_bilstm((4, 4), BernoulliConditional(), hidden_dim=2)
        >>> module().sample().shape
        torch.Size([4, 4])

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks.
    """
    network = DiagonalBiLSTM(
        grid_of(event_shape, conditional),
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        kernel_size=kernel_size,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
    )
    return Autoregressive(network, conditional, event_shape, order)
