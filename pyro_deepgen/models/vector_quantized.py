"""Auto-encoders whose latent variables are codes: VQ-VAE, and its hierarchy VQ-VAE-2."""

from collections.abc import Callable, Sequence

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor, nn

from .._numerics.checks import check_positive_int
from ..distributions.conditionals import Conditional
from ..distributions.vector_quantized import CodebookPrior, VectorQuantized, nearest_codes
from ..nn import Conv, SeparableBlock, average_pool, resize_nearest
from .deep_images import image_decoder
from .image_settings import ImageLevels, make_levels
from .normals import joined
from .top_down_pair import TopDownPair

__all__ = ["VQVAE", "VQVAE2"]


class CodePrior(nn.Module):
    """Independent codes, each place with its own probabilities, uniform at the start."""

    context_dim = 0

    def __init__(self, code_shape: tuple[int, int], num_codes: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(*code_shape, num_codes))

    def forward(self) -> Distribution:
        return dist.Categorical(logits=self.logits).to_event(2)


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
            of event shape ``(height, width)``; one with a ``context_dim``, which must be
            ``code_dim``, is given the vectors of the level above as an image. Default independent
            codes with learned probabilities.
        commitment: weight :math:`\beta` of the commitment term.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a size is out of range, or ``priors`` are not one a level.

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
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        halvings = check_positive_int("halvings", halvings, minimum=0)
        num_levels = check_positive_int("num_levels", num_levels)
        num_codes = check_positive_int("num_codes", num_codes, minimum=2)
        groups = (0,) * halvings + (1,) * num_levels
        levels = make_levels(image_shape, channels, code_dim, groups, None, 0, input_range)
        if priors is None:
            priors = [CodePrior(levels.sizes[halvings + i], num_codes) for i in range(num_levels)]
        if len(priors) != num_levels:
            raise ValueError(
                f"priors must be one for each of {num_levels} levels, got {len(priors)}; pass as "
                "many."
            )
        super().__init__(
            CodeGenerator(levels, num_codes, priors, float(commitment)),
            image_decoder(levels, conditional),
            CodeRecognition(levels),
            name,
        )

    def codes(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Integer codes of data by site, each of shape ``(B, height, width)``."""
        codebooks = zip(self.generator.sites, self.generator.codebooks, strict=True)
        found = self.encode(x, context)
        return {name: nearest_codes(found[name], codebook) for name, codebook in codebooks}

    def usage(self, x: Tensor) -> dict[str, Tensor]:
        """How often each code is used by data, counts of shape ``(num_codes,)`` by site."""
        sizes = [len(codebook) for codebook in self.generator.codebooks]
        counts = zip(self.codes(x).items(), sizes, strict=True)
        return {
            name: torch.bincount(codes.flatten(), minlength=size) for (name, codes), size in counts
        }

    def perplexity(self, x: Tensor) -> dict[str, float]:
        r"""Effective number of codes that data use, by site.

        .. math:: \exp\Big(-\sum_k \hat p_k \log \hat p_k\Big)

        Pass all data, or a large part of them: that of a minibatch is too low.
        """
        found = {}
        for name, count in self.usage(x).items():
            share = count / count.sum()
            logs = torch.log(share.clamp(min=1e-12))
            found[name] = float(torch.exp(-(share * logs).sum()))
        return found

    def bound(self, x: Tensor) -> Tensor:
        """The evidence lower bound of each datum, in nats: reconstruction and codes, exactly."""
        codes, total = self.encode(x), 0.0

        def choose(name: str, prior: Distribution, state) -> Tensor:
            nonlocal total
            total = total + prior.log_prob(codes[name])
            return codes[name]

        features = self.generator(choose, x.shape[:1], None)
        return total + self.decoder(features).log_prob(x)

    def restart_dead_codes(self, x: Tensor, min_usage: int = 1) -> "VQVAE":
        """Move codes that data hardly use to vectors of random places of data.

        Args:
            x: all data, or a large part of them.
            min_usage: codes used less often are moved.

        Returns:
            The pair, changed in place.
        """
        found, inputs = [], self._inputs(x)
        with torch.no_grad():
            for (name, count), book in zip(
                self.usage(x).items(), self.generator.codebooks, strict=True
            ):
                rows = inputs[name].movedim(-3, -1).flatten(0, -2)
                picks = torch.randint(len(rows), (len(book),), device=rows.device)
                found.append(torch.where((count < min_usage)[:, None], rows[picks], book))
            for book, new in zip(self.generator.codebooks, found, strict=True):
                book.copy_(new)
        return self

    def _inputs(self, x: Tensor) -> dict[str, Tensor]:
        """The vectors that are quantised, by site."""
        posterior, found = self._at_means(x, None), {}

        def choose(*site) -> Tensor:
            q = posterior(*site)
            found[site[0]] = q.inputs
            return q.mean

        self.generator(choose, x.shape[:1], None)
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


class CodeGenerator(nn.Module):
    """Codebooks, priors of their codes, and the features of the image."""

    event_dim = 3

    def __init__(self, levels: ImageLevels, num_codes: int, priors: Sequence, commitment: float):
        super().__init__()
        count, dim = len(levels.scales), levels.latent_channels
        self.levels, self.commitment = levels, commitment
        self.sites = tuple(f"z{i}" for i in range(count, 0, -1))
        self.codebooks = nn.ParameterList(torch.randn(num_codes, dim) for _ in self.sites)
        self.priors = nn.ModuleList(priors)
        self.combine = Conv(count * dim, levels.channels)
        blocks = [SeparableBlock(levels.channels, kernel_size=3) for i in range(2)]
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, choose: Callable, batch_shape: tuple, context: Tensor | None = None
    ) -> Tensor:
        found = []
        for i, (name, scale) in enumerate(zip(self.sites, self.levels.scales, strict=True)):
            size, prior = self.levels.sizes[scale], self.priors[-1 - i]
            above = resize_nearest(found[-1], *size) if found else None
            codes = prior(above) if getattr(prior, "context_dim", 0) else prior()
            if codes.batch_shape != tuple(batch_shape):
                shape = batch_shape if above is None else above.shape[:-3]
                codes = codes.expand(torch.Size(shape))
            book = self.codebooks[i]
            state = (book, above, self.commitment)
            found.append(choose(name, CodebookPrior(codes, book), state))
        sizes = self.levels.sizes[self.levels.scales[-1]]
        h = self.combine(joined(*(resize_nearest(z, *sizes) for z in found), event_dim=3))
        for scale, block in zip((self.levels.scales[-1], 0), self.blocks, strict=True):
            h = block(resize_nearest(h, *self.levels.sizes[scale]))
        return h


class CodeRecognition(nn.Module):
    """Blocks from the image to coarser scales, and the vectors to quantise."""

    def __init__(self, levels: ImageLevels):
        super().__init__()
        width, z = levels.channels, levels.latent_channels
        self.levels = levels
        self.stem = Conv(levels.image_shape[0], width)
        blocks = [SeparableBlock(width, kernel_size=3) for i in range(len(levels.sizes))]
        heads = [Conv(width + (z if i else 0), z) for i in range(len(levels.scales))]
        self.blocks, self.heads = nn.ModuleList(blocks), nn.ModuleList(heads)

    def forward(self, x: Tensor, context: Tensor | None, draw: Callable) -> Callable:
        d, found = self.stem(self.levels.rescaled(x, self.stem.weight)), []
        for size, block in zip(self.levels.sizes, self.blocks, strict=True):
            d = block(average_pool(d, *size))
            found.append(d)

        def posterior(name: str, prior: Distribution, state: tuple) -> Distribution:
            place = len(self.heads) - int(name[1:])
            book, above, commitment = state
            features = joined(found[self.levels.scales[place]], above, event_dim=3)
            return VectorQuantized(self.heads[place](features), book, commitment)

        return posterior
