"""An auto-encoder of videos whose latent variables are codes, with a transformer as their prior."""

from collections.abc import Callable, Sequence

from .._numerics.checks import check_choice, check_positive_int
from .._numerics.video_sizes import VideoSizes, make_video_sizes
from ..distributions import ConditionalDistribution, image_gpt
from ..distributions.conditionals import (
    BernoulliConditional,
    CategoricalConditional,
    Conditional,
)
from ..nn import Conv
from .code_pair import CodePair
from .video_codes import (
    UniformCodes,
    VideoCodeGenerator,
    VideoCodeRecognition,
    check_video_prior,
)

__all__ = ["VideoVQVAE"]


class VideoVQVAE(CodePair):
    r"""A vector-quantised auto-encoder of videos, with a causal transformer over its codes.

    Encoder and decoder are residual networks of convolutions in time and space, perhaps with
    attention along the axes. Model and guide are those of :class:`VQVAE`, with one site ``z1``.
    The codes are integers, so that no gradient of their prior reaches encoder and decoder: training
    all at once is the same as training with a uniform prior first, and a prior of the codes later,

        pair = VideoVQVAE(shape, prior="uniform")     # fit pair.model and pair.guide
        codes = pair.codes(x)["z1"]                   # fit a prior of these
        pair = pair.with_prior(prior)

    which is faster. Class-conditional videos take labels as one-hot vectors, the context.

    Args:
        video_shape: ``(channels, time, height, width)``.
        num_codes: vectors in the codebook.
        code_dim: size of a vector.
        channels: channels of the features.
        halvings: how often each of time, height and width is halved, rounded up; one integer or
            three.
        num_blocks: residual blocks of encoder and decoder each.
        num_heads: heads of attention along the axes behind each block, 0 for none.
        conditional: the family of one element, default bits; one whose element holds the channels
            is given them all.
        prior: module whose call gives a distribution of integer codes of event shape ``(time,
            height, width)``, perhaps with the pair's context; or ``'transformer'``, that of
            :func:`image_gpt`, or ``'uniform'``.
        commitment: weight :math:`\beta` of the commitment term.
        codebook_decay: decay in (0, 1) of moving averages that the codebook then is (0.99 is
            usual); None for a codebook learned by gradients.
        context_dim: size of a context that prior, decoder and encoder are given, 0 for none.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a size is out of range, or ``prior`` takes another context.

    Example:
        >>> pair = VideoVQVAE((1, 4, 8, 8), num_codes=16, code_dim=4, channels=8)
        >>> pair.sample(3).shape, pair.codes(pair.sample(3))["z1"].shape
        (torch.Size([3, 1, 4, 8, 8]), torch.Size([3, 1, 2, 2]))

    References:
        Yan, Zhang, Abbeel & Srinivas 2021, VideoGPT: Video Generation using VQ-VAE and
        Transformers, section 3.
    """

    def __init__(
        self,
        video_shape: Sequence[int],
        num_codes: int = 128,
        code_dim: int = 16,
        channels: int = 32,
        halvings: int | Sequence[int] = 2,
        num_blocks: int = 2,
        num_heads: int = 0,
        conditional: Conditional | None = None,
        prior: Callable | str = "transformer",
        commitment: float = 0.25,
        codebook_decay: float | None = None,
        context_dim: int = 0,
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        num_codes = check_positive_int("num_codes", num_codes, minimum=2)
        sizes = make_video_sizes(
            video_shape,
            channels,
            code_dim,
            halvings,
            num_blocks,
            num_heads,
            context_dim,
            input_range,
        )
        prior = _prior_of(prior, sizes, num_codes)
        super().__init__(
            VideoCodeGenerator(sizes, num_codes, prior, float(commitment), codebook_decay),
            _decoder(sizes, conditional),
            VideoCodeRecognition(sizes),
            name,
        )

    def with_prior(self, prior: Callable | str) -> "VideoVQVAE":
        """Put another prior of the codes in the place of the one that is there.

        Args:
            prior: as of the class.

        Returns:
            The pair, changed in place.

        Raises:
            ValueError: if it takes another context.
        """
        sizes, (book,) = self.generator.sizes, self.generator.codebooks
        prior = prior if isinstance(prior, str) else check_video_prior(prior, sizes.context_dim)
        self.generator.priors[0] = _prior_of(prior, sizes, len(book.weight))
        return self


def _prior_of(prior: Callable | str, sizes: VideoSizes, num_codes: int) -> Callable:
    """The prior of this name, or the one given."""
    if not isinstance(prior, str):
        return prior
    if check_choice("prior", prior, ("transformer", "uniform")) == "uniform":
        return UniformCodes(sizes.code_shape, num_codes)
    conditional = CategoricalConditional(num_codes)
    return image_gpt(sizes.code_shape, conditional, context_dim=sizes.context_dim)


def _decoder(sizes: VideoSizes, conditional: Conditional | None) -> ConditionalDistribution:
    """The likelihood of videos given their features."""
    conditional = BernoulliConditional() if conditional is None else conditional
    shape = sizes.video_shape[1:] if conditional.event_shape else sizes.video_shape
    count = conditional.num_params * (1 if conditional.event_shape else shape[0])
    network = Conv(sizes.channels, count, spatial_dims=3)
    return ConditionalDistribution(network, conditional, shape, channels_first=True)
