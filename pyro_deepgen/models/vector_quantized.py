"""Auto-encoders whose latent variables are codes: VQ-VAE, and its hierarchy VQ-VAE-2."""

from collections.abc import Callable, Sequence

from torch import Tensor

from .._numerics.checks import check_positive_int
from ..distributions.conditionals import Conditional
from ..nn import resize_nearest
from .code_levels import (
    CodeGenerator,
    CodePrior,
    CodeRecognition,
    check_priors,
    prior_context,
)
from .code_pair import CodePair
from .deep_images import image_decoder
from .image_settings import make_levels

__all__ = ["VQVAE", "VQVAE2"]


class VQVAE(CodePair):
    r"""A vector-quantised auto-encoder of images, with one or several levels of codes.

    The guide is a point mass at the nearest vectors of a codebook, so that the evidence lower bound
    is :math:`\log p(x \mid e_k) + \log p(k)`, an honest bound with a learned prior of the codes.
    Its gradient is that of the straight-through estimator, with codebook and commitment terms.
    Sites ``z1``, ``z2``, ... hold the vectors. Train it with one particle.

    Args:
        image_shape: ``(channels, height, width)``.
        num_codes: vectors in the codebook of each level.
        code_dim: size of a vector.
        channels: channels of the features.
        halvings: how often the first level halves the image; each further level once more.
        num_levels: number of levels of codes.
        conditional: the family of one element, default bits; one whose element holds the channels
            is given them all.
        priors: module of each level, ``z1`` first, whose call gives a distribution of integer codes
            of event shape ``(height, width)``. One with a ``context_dim`` is given a context: if
            its ``context_kind`` is ``'vector'``, that of the pair; else an image of the vectors of
            the level above, beside the pair's context at each pixel. Default independent codes
            with learned probabilities, given the context.
        commitment: weight :math:`\beta` of the commitment term.
        codebook_decay: decay in (0, 1) of moving averages that the codebooks then are (0.99 is
            usual); None for codebooks learned by gradients.
        context_dim: size of a context that priors, decoder and encoder are given, 0 for none.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a size is out of range, or ``priors`` are not one a level, or take another
            context.

    Example:
        >>> VQVAE((1, 8, 8), num_codes=16, code_dim=4, channels=8).sample(3).shape
        torch.Size([3, 1, 8, 8])

    References:
        van den Oord, Vinyals & Kavukcuoglu 2017, Neural discrete representation learning; Razavi,
        van den Oord & Vinyals 2019, Generating diverse high-fidelity images with VQ-VAE-2.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_codes: int = 128,
        code_dim: int = 16,
        channels: int = 32,
        halvings: int = 2,
        num_levels: int = 1,
        conditional: Conditional | None = None,
        priors: Sequence[Callable] | None = None,
        commitment: float = 0.25,
        codebook_decay: float | None = None,
        context_dim: int = 0,
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        halvings = check_positive_int("halvings", halvings, minimum=0)
        num_levels = check_positive_int("num_levels", num_levels)
        num_codes = check_positive_int("num_codes", num_codes, minimum=2)
        groups = (0,) * halvings + (1,) * num_levels
        levels = make_levels(
            image_shape, channels, code_dim, groups, None, context_dim, input_range
        )
        if priors is None:
            sizes = levels.sizes[halvings:]
            priors = [CodePrior(size, num_codes, levels.context_dim) for size in sizes]
        super().__init__(
            CodeGenerator(levels, num_codes, priors, float(commitment), codebook_decay),
            image_decoder(levels, conditional),
            CodeRecognition(levels),
            name,
        )

    def with_priors(self, priors: Sequence[Callable]) -> "VQVAE":
        """Put other priors of the codes in the place of those that are there.

        So the two stages of the papers: train the pair with the independent codes of the default,
        then priors of the codes that its data have (:meth:`prior_data`).

        Args:
            priors: as of the class.

        Returns:
            The pair, changed in place.

        Raises:
            ValueError: if they are not one a level, or take another context.
        """
        check_priors(priors, self.generator.levels)
        for i, prior in enumerate(priors):
            self.generator.priors[i] = prior
        return self

    def prior_data(
        self, x: Tensor, context: Tensor | None = None
    ) -> dict[str, tuple[Tensor, Tensor | None]]:
        """What the prior of each level is to be trained on: codes, and the context it takes.

        Args:
            x: data, shape ``(B, channels, height, width)``.
            context: shape ``(B, context_dim)``, or None.

        Returns:
            By site, from the highest level: codes of shape ``(B, height, width)``, and the context
            of the prior that is there, None for one without.
        """
        generator, levels = self.generator, self.generator.levels
        vectors, codes, above, found = self.encode(x, context), self.codes(x, context), None, {}
        for i, (name, scale) in enumerate(zip(generator.sites, levels.scales, strict=True)):
            size = levels.sizes[scale]
            above = None if above is None else resize_nearest(above, *size)
            given = prior_context(generator.priors[-1 - i], above, context, size)
            found[name] = (codes[name], given)
            above = vectors[name]
        return found


class VQVAE2(VQVAE):
    """A hierarchy of codes: :class:`VQVAE` with two levels, the lower given the upper.

    Args:
        image_shape: ``(channels, height, width)``.
        num_codes: vectors in the codebook of each level.
        code_dim: size of a vector.
        channels: channels of the features.
        halvings: how often the lower level halves the image; the upper one once more.
        num_levels: number of levels of codes.
        **options: further arguments of :class:`VQVAE`.

    Example:
        >>> pair = VQVAE2((1, 8, 8), num_codes=16, code_dim=4, channels=8)
        >>> {name: codes.shape for name, codes in pair.codes(pair.sample(3)).items()}
        {'z2': torch.Size([3, 2, 2]), 'z1': torch.Size([3, 4, 4])}
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_codes: int = 128,
        code_dim: int = 16,
        channels: int = 32,
        halvings: int = 1,
        num_levels: int = 2,
        **options,
    ):
        super().__init__(
            image_shape, num_codes, code_dim, channels, halvings, num_levels, **options
        )
