"""Deep hierarchies of latent images: NVAE and the very deep auto-encoder."""

from collections.abc import Sequence

from jax import Array, random

from ..distributions import ConditionalDistribution
from ..distributions.conditionals import BernoulliConditional, Conditional
from ..nn import Conv
from .image_levels import ImageGenerator, ImageRecognition
from .image_settings import ImageLevels, make_levels
from .top_down_pair import TopDownPair

__all__ = ["NVAE", "VeryDeepVAE"]


def image_decoder(
    rng_key: Array, levels: ImageLevels, conditional: Conditional | None
) -> ConditionalDistribution:
    """The likelihood of images given their features."""
    conditional = BernoulliConditional() if conditional is None else conditional
    count = conditional.num_params * (1 if conditional.event_shape else levels.image_shape[0])
    shape = levels.image_shape[1:] if conditional.event_shape else levels.image_shape
    network = Conv(rng_key, levels.channels, count)
    return ConditionalDistribution(network, conditional, shape, channels_first=True)


class NVAE(TopDownPair):
    r"""A hierarchical auto-encoder with residual posteriors and depthwise convolutions.

    .. math:: q(z_l \mid z_{>l}, x) = N(\mu_l + \Delta\mu_l,\ (\sigma_l\, \Delta\sigma_l)^2)
        \quad\text{where}\quad p(z_l \mid z_{>l}) = N(\mu_l, \sigma_l^2)

    The encoder goes up once, and its features join the generator's on the way down. Normalisation
    is over each image, without running statistics. Train it with ``BetaELBO(analytic=True)``, whose
    divergences are in closed form of the differences, in :class:`PenalizedELBO` of
    :func:`spectral_penalty`.

    Args:
        rng_key: random key of the starting weights.
        image_shape: ``(channels, height, width)``; vectors are images of one pixel.
        channels: channels of the features.
        latent_channels: channels of each group.
        groups: number of groups at each scale, that of the image first, each half the one before,
            rounded up; zeros are allowed.
        conditional: the family of one element, default bits; one whose element holds the channels
            is given them all.
        context_dim: size of a context that generator and encoder are given, 0 for none.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a size is out of range.

    Example:
        >>> import jax
        >>> pair = NVAE(jax.random.key(0), (1, 8, 8), 8, 2, (0, 1, 1))
        >>> pair.sample(jax.random.key(1), 3).shape
        (3, 1, 8, 8)

    References:
        Vahdat & Kautz 2020, NVAE: a deep hierarchical variational autoencoder.
    """

    def __init__(
        self,
        rng_key: Array,
        image_shape: Sequence[int],
        channels: int = 32,
        latent_channels: int = 4,
        groups: Sequence[int] = (0, 2, 2, 1),
        conditional: Conditional | None = None,
        context_dim: int = 0,
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        levels = make_levels(
            image_shape, channels, latent_channels, groups, None, context_dim, input_range
        )
        keys = random.split(rng_key, 3)
        super().__init__(
            ImageGenerator(keys[0], levels, separable=True),
            image_decoder(keys[1], levels, conditional),
            ImageRecognition(keys[2], levels, separable=True),
            name,
        )


class VeryDeepVAE(TopDownPair):
    r"""A very deep auto-encoder: top-down bottleneck blocks, up-sampled by the nearest pixel.

    Each group's prior comes with features of its own, the last weights of each block start smaller
    by :math:`1 / \sqrt{n}` for ``n`` groups, and the priors start standard normal. Train it with
    gradient clipping and skipping, and average the parameters.

    Args:
        rng_key: random key of the starting weights.
        image_shape: ``(channels, height, width)``; vectors are images of one pixel.
        channels: channels of the features.
        latent_channels: channels of each group.
        groups: number of groups at each scale, that of the image first, each half the one before,
            rounded up; zeros are allowed.
        conditional: the family of one element, default bits; one whose element holds the channels
            is given them all.
        hidden_channels: channels inside the blocks, default half of ``channels``.
        context_dim: size of a context that generator and encoder are given, 0 for none.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a size is out of range.

    Example:
        >>> import jax
        >>> pair = VeryDeepVAE(jax.random.key(0), (1, 8, 8), 8, 2, (0, 1, 1))
        >>> pair.sample(jax.random.key(1), 3).shape
        (3, 1, 8, 8)

    References:
        Child 2021, Very deep VAEs generalize autoregressive models and can outperform them on
        images, section 3.
    """

    def __init__(
        self,
        rng_key: Array,
        image_shape: Sequence[int],
        channels: int = 32,
        latent_channels: int = 4,
        groups: Sequence[int] = (0, 2, 2, 1),
        conditional: Conditional | None = None,
        hidden_channels: int | None = None,
        context_dim: int = 0,
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        levels = make_levels(
            image_shape,
            channels,
            latent_channels,
            groups,
            hidden_channels,
            context_dim,
            input_range,
        )
        keys = random.split(rng_key, 3)
        super().__init__(
            ImageGenerator(keys[0], levels, separable=False),
            image_decoder(keys[1], levels, conditional),
            ImageRecognition(keys[2], levels, separable=False),
            name,
        )
