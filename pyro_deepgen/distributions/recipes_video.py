"""Recipes of autoregressive distributions of videos."""

from collections.abc import Sequence

from ..nn import VideoTransformer
from ._elements import grid_of, in_channels
from .autoregressive import Autoregressive
from .conditionals import Conditional

__all__ = ["video_transformer"]


def video_transformer(
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dim: int = 64,
    num_blocks: int = 4,
    num_heads: int = 4,
    factors: Sequence[int] | None = None,
    block_shapes: Sequence[Sequence[int]] | None = None,
    context_dim: int = 0,
    context_kind: str = "vector",
    one_hot: bool = False,
) -> Autoregressive:
    r"""Block-local attention over a video, or over its slices in turn.

    With factors of one the order is raster, in which the first frames come first: what
    ``sample_given`` draws after given frames is exact. Other factors visit positions of all frames
    from the first slice on, so that given frames come first no more, and draws carry weights; there
    give the frames as a context of kind ``'image'`` instead.

    Args:
        event_shape: ``conditional.event_shape`` followed by ``(time, height, width)``.
        conditional: the distribution of one element.
        hidden_dim: width.
        num_blocks: layers of attention, of encoder and decoder each.
        num_heads: heads of the attention.
        factors: distance of the positions of a slice along each axis, default ones.
        block_shapes: shapes of the blocks of the layers in turn, default those of the paper.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``, a video of ``context_dim`` channels.
        one_hot: whether integers enter the network as one-hot vectors.

    Example:
        >>> from pyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> module = video_transformer((3, 4, 4), BernoulliConditional(), 8, 2, factors=(1, 2, 2))
        >>> module().sample().shape
        torch.Size([3, 4, 4])

    References:
        Weissenborn, Täckström & Uszkoreit 2020, Scaling Autoregressive Video Models.
    """
    network = VideoTransformer(
        grid_of(event_shape, conditional),
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_blocks=num_blocks,
        num_heads=num_heads,
        factors=factors,
        block_shapes=block_shapes,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
    )
    return Autoregressive(network, conditional, event_shape)
