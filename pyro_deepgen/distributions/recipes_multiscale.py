"""Recipes of autoregressive distributions on several grids."""

from collections.abc import Sequence

from .._numerics.checks import check_dims
from ..nn import PixelCNNPlusPlus
from ._elements import grid_of, in_channels
from .autoregressive import Autoregressive
from .conditionals import Conditional, DiscretizedLogisticMixtureConditional

__all__ = ["pixel_cnn_plus_plus"]


def pixel_cnn_plus_plus(
    event_shape: Sequence[int],
    conditional: Conditional | None = None,
    hidden_dim: int = 16,
    num_blocks: int = 2,
    num_scales: int = 3,
    dropout: float = 0.0,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = False,
) -> Autoregressive:
    r"""Gated residual blocks in two streams, on the grid, its half, its quarter, and back.

    In training mode, densities are random if there is dropout; call ``eval()`` before scoring.
    Samples, and their densities, never drop anything.

    Args:
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element; by default, of images ``(height, width)`` or
            ``(channels, height, width)`` of levels from 0 to 255, a mixture of ten discretised
            logistic variables, its channels linear in those before them.
        hidden_dim: width.
        num_blocks: blocks of each grid on the way down.
        num_scales: number of grids.
        dropout: rate of dropout in [0, 1).
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.

    Example:
        >>> module = pixel_cnn_plus_plus((3, 4, 4), hidden_dim=2, num_blocks=1, num_scales=2)
        >>> module().sample().shape
        torch.Size([3, 4, 4])

    References:
        Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++: Improving the PixelCNN with
        Discretized Logistic Mixture Likelihood and Other Modifications.
    """
    if conditional is None:
        shape = check_dims("event_shape", event_shape)
        channels = shape[0] if len(shape) == 3 else 1
        conditional = DiscretizedLogisticMixtureConditional(10, channels=channels)
    grid_shape = grid_of(event_shape, conditional)
    if len(grid_shape) == 3 and grid_shape[0] == 1:
        # one channel is no axis of positions
        grid_shape = grid_shape[1:]
    network = PixelCNNPlusPlus(
        grid_shape,
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_blocks=num_blocks,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
        num_scales=num_scales,
        dropout=dropout,
    )
    return Autoregressive(network, conditional, event_shape, order)
