"""Auto-encoders whose latent variables are codes: VQ-VAE, and its hierarchy VQ-VAE-2."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import Distribution
from torch import Tensor

from .._numerics.checks import check_positive_int
from ..distributions.conditionals import Conditional
from ..distributions.vector_quantized import nearest_codes, vectors_in_rows
from .code_levels import CodeGenerator, CodePrior, CodeRecognition
from .deep_images import image_decoder
from .image_settings import make_levels
from .top_down_pair import TopDownPair

__all__ = ["VQVAE", "VQVAE2"]


class VQVAE(TopDownPair):
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
        if len(priors) != num_levels:
            raise ValueError(
                f"priors must be one for each of {num_levels} levels, got {len(priors)}; pass as "
                "many."
            )
        super().__init__(
            CodeGenerator(levels, num_codes, priors, float(commitment), codebook_decay),
            image_decoder(levels, conditional),
            CodeRecognition(levels),
            name,
        )

    def codes(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Integer codes of data by site, each of shape ``(B, height, width)``."""
        codebooks = zip(self.generator.sites, self.generator.codebooks, strict=True)
        found = self.encode(x, context)
        dim = self.generator.event_dim
        return {name: nearest_codes(found[name], book.weight, dim) for name, book in codebooks}

    def usage(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """How often each code is used by data, counts of shape ``(num_codes,)`` by site."""
        sizes = [len(book.weight) for book in self.generator.codebooks]
        counts = zip(self.codes(x, context).items(), sizes, strict=True)
        return {
            name: torch.bincount(codes.flatten(), minlength=size) for (name, codes), size in counts
        }

    def perplexity(self, x: Tensor, context: Tensor | None = None) -> dict[str, float]:
        r"""Effective number of codes that data use, by site.

        .. math:: \exp\Big(-\sum_k \hat p_k \log \hat p_k\Big)

        Pass all data, or a large part of them: that of a minibatch is too low.
        """
        found = {}
        for name, count in self.usage(x, context).items():
            share = count / count.sum()
            logs = torch.log(share.clamp(min=1e-12))
            found[name] = float(torch.exp(-(share * logs).sum()))
        return found

    def bound(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The evidence lower bound of each datum, in nats: reconstruction and codes, exactly."""
        codes, total = self.encode(x, context), 0.0

        def choose(name: str, prior: Distribution, state) -> Tensor:
            nonlocal total
            total = total + prior.log_prob(codes[name])
            return codes[name]

        features = self.generator(choose, x.shape[:1], context)
        return total + self.decoder(features).log_prob(x)

    def restart_dead_codes(
        self, x: Tensor, min_usage: int = 1, context: Tensor | None = None
    ) -> "VQVAE":
        """Move codes that data hardly use to vectors of random places of data.

        Args:
            x: all data, or a large part of them.
            min_usage: codes used less often are moved.
            context: shape ``(B, context_dim)``, or None.

        Returns:
            The pair, changed in place.
        """
        with torch.no_grad():
            inputs, usage = self._inputs(x, context), self.usage(x, context)
            books = dict(zip(self.generator.sites, self.generator.codebooks, strict=True))
            for name, book in books.items():
                rows = vectors_in_rows(inputs[name], self.generator.event_dim)
                picks = torch.randint(len(rows), (len(book.weight),), device=rows.device)
                book.move(usage[name] < min_usage, rows[picks])
        return self

    def _posteriors(self, x: Tensor, context: Tensor | None = None, **size) -> Callable:
        find = super()._posteriors(x, context, **size)
        books = dict(zip(self.generator.sites, self.generator.codebooks, strict=True))
        for book in books.values():
            book.refresh()

        def observed(name: str, prior: Distribution, state) -> Distribution:
            q = find(name, prior, state)
            books[name].observe(vectors_in_rows(q.inputs, q.event_dim), q.codes.flatten())
            return q

        return observed

    def _inputs(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """The vectors that are quantised, by site."""
        posterior, found = self._at_means(x, context), {}

        def choose(*site) -> Tensor:
            q = posterior(*site)
            found[site[0]] = q.inputs
            return q.mean

        self.generator(choose, x.shape[:1], context)
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
