"""Recipes of autoregressive distributions: a network, its conditional and an order."""

import math
from collections.abc import Callable, Sequence

from jax import Array

from ..nn import (
    MADE,
    CausalTransformer,
    GatedPixelCNN,
    PixelCNN,
    WaveNet,
)
from ._elements import grid_of, in_channels
from .autoregressive import Autoregressive
from .conditionals import Conditional

__all__ = [
    "gated_pixel_cnn",
    "image_gpt",
    "made",
    "pixel_cnn",
    "wavenet",
]


def made(
    rng_key: Array,
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dims: Sequence[int] = (500,),
    activation: str | Callable = "relu",
    direct: bool = True,
    residual: bool = False,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = False,
) -> Autoregressive:
    r"""A masked dense network of the positions in one order or several.

    Args:
        rng_key: random key of the starting weights.
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element.
        hidden_dims: hidden widths.
        activation: name or elementwise callable.
        direct: whether there are direct connections.
        residual: whether hidden layers of one width are residual.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.

    Example:
        >>> import jax
        >>> from numpyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> key = jax.random.key(0)
        >>> module = made(key, (4, 4), BernoulliConditional(), hidden_dims=(8,))
        >>> module().sample(key).shape
        (4, 4)

    References:
        Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation.
    """
    network = MADE(
        rng_key,
        math.prod(grid_of(event_shape, conditional)),
        conditional.num_params,
        hidden_dims=hidden_dims,
        activation=activation,
        direct=direct,
        residual=residual,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
        order=order,
    )
    return Autoregressive(network, conditional, event_shape)


def pixel_cnn(
    rng_key: Array,
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dim: int = 16,
    num_blocks: int = 7,
    kernel_size: int = 7,
    head_dim: int | None = None,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = False,
    learned_positions: bool = False,
    activation: str | Callable = "relu",
) -> Autoregressive:
    r"""Residual masked convolutions.

    Args:
        rng_key: random key of the starting weights.
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element.
        hidden_dim: width inside a block.
        num_blocks: number of blocks.
        kernel_size: odd size of the first kernel.
        head_dim: width of the last hidden layer, default ``2 * hidden_dim``.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.
        learned_positions: whether each position has a learned vector of its own; on binarised
            MNIST several nats better.
        activation: name or elementwise callable; ``'silu'`` bears a learning rate of 1e-2.

    Example:
        >>> import jax
        >>> from numpyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> key = jax.random.key(0)
        >>> module = pixel_cnn(key, (4, 4), BernoulliConditional(), hidden_dim=2)
        >>> module().sample(key).shape
        (4, 4)

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks.
    """
    network = PixelCNN(
        rng_key,
        grid_of(event_shape, conditional),
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_blocks=num_blocks,
        kernel_size=kernel_size,
        head_dim=head_dim,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
        learned_positions=learned_positions,
        activation=activation,
    )
    return Autoregressive(network, conditional, event_shape, order)


def gated_pixel_cnn(
    rng_key: Array,
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dim: int = 16,
    num_blocks: int = 7,
    kernel_size: int = 7,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = False,
    learned_positions: bool = False,
) -> Autoregressive:
    r"""Gated convolutions in two stacks, without a blind spot.

    Args:
        rng_key: random key of the starting weights.
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element.
        hidden_dim: width.
        num_blocks: number of blocks.
        kernel_size: odd size of the first kernels.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.
        learned_positions: whether each position has a learned vector of its own; on binarised
            MNIST several nats better.

    Example:
        >>> import jax
        >>> from numpyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> key = jax.random.key(0)
        >>> module = gated_pixel_cnn(key, (4, 4), BernoulliConditional(), hidden_dim=2)
        >>> module().sample(key).shape
        (4, 4)

    References:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders.
    """
    network = GatedPixelCNN(
        rng_key,
        grid_of(event_shape, conditional),
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_blocks=num_blocks,
        kernel_size=kernel_size,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
        learned_positions=learned_positions,
    )
    return Autoregressive(network, conditional, event_shape, order)


def wavenet(
    rng_key: Array,
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dim: int = 32,
    num_blocks: int = 8,
    kernel_size: int = 2,
    num_dilations: int = 8,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = False,
) -> Autoregressive:
    r"""Dilated causal convolutions over the positions as one sequence.

    Args:
        rng_key: random key of the starting weights.
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element.
        hidden_dim: width.
        num_blocks: number of blocks.
        kernel_size: taps of a convolution.
        num_dilations: dilations before they start anew at 1.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.

    Example:
        >>> import jax
        >>> from numpyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> key = jax.random.key(0)
        >>> module = wavenet(key, (4, 4), BernoulliConditional(), hidden_dim=2)
        >>> module().sample(key).shape
        (4, 4)

    References:
        van den Oord et al. 2016, WaveNet: A Generative Model for Raw Audio.
    """
    network = WaveNet(
        rng_key,
        (math.prod(grid_of(event_shape, conditional)),),
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_blocks=num_blocks,
        kernel_size=kernel_size,
        num_dilations=num_dilations,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
    )
    return Autoregressive(network, conditional, event_shape, order)


def image_gpt(
    rng_key: Array,
    event_shape: Sequence[int],
    conditional: Conditional,
    hidden_dim: int = 64,
    num_blocks: int = 4,
    num_heads: int = 4,
    context_dim: int = 0,
    context_kind: str = "vector",
    order: str | Sequence = "raster",
    one_hot: bool = True,
) -> Autoregressive:
    r"""A causal transformer with learned positions.

    Args:
        rng_key: random key of the starting weights.
        event_shape: ``conditional.event_shape`` followed by the shape of the grid.
        conditional: the distribution of one element.
        hidden_dim: width.
        num_blocks: number of blocks.
        num_heads: heads of the attention.
        context_dim: size of the context, 0 for none.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        order: order of the positions, or a list; see :class:`Autoregressive`.
        one_hot: whether integers enter the network as one-hot vectors.

    Example:
        >>> import jax
        >>> from numpyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> key = jax.random.key(0)
        >>> module = image_gpt(key, (4, 4), BernoulliConditional(), hidden_dim=8, num_blocks=1)
        >>> module().sample(key).shape
        (4, 4)

    References:
        Chen et al. 2020, Generative Pretraining from Pixels.
    """
    network = CausalTransformer(
        rng_key,
        grid_of(event_shape, conditional),
        conditional.num_params,
        hidden_dim=hidden_dim,
        num_blocks=num_blocks,
        num_heads=num_heads,
        in_channels=in_channels(conditional, one_hot),
        context_dim=context_dim,
        context_kind=context_kind,
    )
    return Autoregressive(network, conditional, event_shape, order)
