"""Levels of codes: their priors, the features that they make, and the vectors to quantise."""

from collections.abc import Callable, Sequence

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor, nn

from ..distributions.vector_quantized import CodebookPrior, VectorQuantized
from ..nn import Codebook, Conv, Dense, SeparableBlock, average_pool, resize_nearest
from .image_settings import ImageLevels
from .normals import joined

__all__ = ["CodeGenerator", "CodePrior", "CodeRecognition"]


class CodePrior(nn.Module):
    """Independent codes, each place with its own probabilities, uniform at the start.

    Args:
        code_shape: shape of the codes.
        num_codes: number of codes.
        context_dim: size of a context that moves the log-probabilities linearly, 0 for none.
    """

    context_kind = "vector"

    def __init__(self, code_shape: Sequence[int], num_codes: int, context_dim: int = 0):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(*code_shape, num_codes))
        self.context_dim, self.slopes = context_dim, None
        if context_dim:
            self.slopes = nn.Parameter(torch.zeros(*code_shape, num_codes, context_dim))

    def forward(self, context: Tensor | None = None) -> Distribution:
        logits = self.logits
        if context is not None:
            logits = logits + torch.tensordot(context, self.slopes, dims=([-1], [-1]))
        return dist.Categorical(logits=logits).to_event(self.logits.dim() - 1)


class CodeGenerator(nn.Module):
    """Codebooks, priors of their codes, and the features of the image."""

    event_dim = 3

    def __init__(
        self,
        levels: ImageLevels,
        num_codes: int,
        priors: Sequence,
        commitment: float,
        decay: float | None,
    ):
        super().__init__()
        count, dim = len(levels.scales), levels.latent_channels
        self.levels, self.commitment = levels, commitment
        self.sites = tuple(f"z{i}" for i in range(count, 0, -1))
        self.codebooks = nn.ModuleList(Codebook(num_codes, dim, decay) for _ in self.sites)
        check_priors(priors, levels)
        self.priors = nn.ModuleList(priors)
        self.combine = Conv(count * dim, levels.channels)
        self.project = None
        if levels.context_dim:
            self.project = Dense(levels.context_dim, levels.channels, ())
        blocks = [SeparableBlock(levels.channels, kernel_size=3) for i in range(2)]
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, choose: Callable, batch_shape: tuple, context: Tensor | None = None
    ) -> Tensor:
        found = []
        for i, (name, scale) in enumerate(zip(self.sites, self.levels.scales, strict=True)):
            size, book = self.levels.sizes[scale], self.codebooks[i]
            above = resize_nearest(found[-1], *size) if found else None
            codes = codes_given(self.priors[-1 - i], above, context, size)
            if codes.batch_shape != tuple(batch_shape):
                shape = batch_shape if above is None else above.shape[:-3]
                codes = codes.expand(torch.Size(shape))
            weight = 1.0 if book.decay is None else 0.0
            state = (book.weight, above, self.commitment, weight)
            found.append(choose(name, CodebookPrior(codes, book.weight), state))
        sizes = self.levels.sizes[self.levels.scales[-1]]
        h = self.combine(joined(*(resize_nearest(z, *sizes) for z in found), event_dim=3))
        if context is not None:
            h = h + self.project(context)[..., None, None]
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
        self.project = None
        if levels.context_dim:
            self.project = Dense(levels.context_dim, width, ())
        blocks = [SeparableBlock(width, kernel_size=3) for i in range(len(levels.sizes))]
        heads = [Conv(width + (z if i else 0), z) for i in range(len(levels.scales))]
        self.blocks, self.heads = nn.ModuleList(blocks), nn.ModuleList(heads)

    def forward(self, x: Tensor, context: Tensor | None, draw: Callable) -> Callable:
        d, found = self.stem(self.levels.rescaled(x, self.stem.weight)), []
        if context is not None:
            d = d + self.project(context)[..., None, None]
        for size, block in zip(self.levels.sizes, self.blocks, strict=True):
            d = block(average_pool(d, *size))
            found.append(d)

        def posterior(name: str, prior: Distribution, state: tuple) -> Distribution:
            place = len(self.heads) - int(name[1:])
            book, above, *weights = state
            features = joined(found[self.levels.scales[place]], above, event_dim=3)
            return VectorQuantized(self.heads[place](features), book, *weights)

        return posterior


def context_kind_of(prior: Callable) -> str:
    """The kind of a prior's context, which its network may say."""
    return getattr(getattr(prior, "network", prior), "context_kind", "image")


def check_prior(name: str, prior: Callable, above_dim: int, context_dim: int) -> None:
    """Raise unless a prior takes no context, or what it is given."""
    size, kind = getattr(prior, "context_dim", 0), context_kind_of(prior)
    given = {"vector": context_dim, "image": above_dim + context_dim}
    if size and size != given.get(kind):
        raise ValueError(
            f"{name} must have no context, one of kind 'vector' and size {context_dim}, or one of "
            f"kind 'image' and size {given['image']}, got {kind!r} and {size}; build it with "
            "another context_dim."
        )


def check_priors(priors: Sequence[Callable], levels: ImageLevels) -> None:
    """Raise unless there is one prior a level, each of which takes what it is given."""
    count = len(levels.scales)
    if len(priors) != count:
        raise ValueError(
            f"priors must be one for each of {count} levels, got {len(priors)}; pass as many."
        )
    for i, prior in enumerate(priors):
        above_dim = levels.latent_channels * (i + 1 < count)
        check_prior(f"priors[{i}]", prior, above_dim, levels.context_dim)


def prior_context(
    prior: Callable, above: Tensor | None, context: Tensor | None, size: tuple
) -> Tensor | None:
    """The context that a prior takes: none, the pair's, or an image."""
    if not getattr(prior, "context_dim", 0):
        return None
    if context_kind_of(prior) == "vector":
        return context
    if context is not None:
        context = context[..., None, None].expand(context.shape + tuple(size))
    return joined(above, context, event_dim=3)


def codes_given(
    prior: Callable, above: Tensor | None, context: Tensor | None, size: tuple
) -> Distribution:
    """Call a prior with the context that it takes."""
    if not getattr(prior, "context_dim", 0):
        return prior()
    return prior(prior_context(prior, above, context, size))
