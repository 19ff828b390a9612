"""Levels of codes: their priors, the features that they make, and the vectors to quantise."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import Array, random
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from ..distributions.vector_quantized import CodebookPrior, VectorQuantized
from ..nn import Codebook, Conv, Dense, SeparableBlock, average_pool, resize_nearest
from .image_settings import ImageLevels
from .normals import joined

__all__ = ["CodeGenerator", "CodePrior", "CodeRecognition"]


class CodePrior(eqx.Module):
    """Independent codes, each place with its own probabilities, uniform at the start.

    Args:
        code_shape: shape of the codes.
        num_codes: number of codes.
        context_dim: size of a context that moves the log-probabilities linearly, 0 for none.
    """

    logits: Array
    slopes: Array | None
    context_dim: int = eqx.field(static=True)
    context_kind: str = eqx.field(static=True)

    def __init__(self, code_shape: Sequence[int], num_codes: int, context_dim: int = 0):
        shape = (*code_shape, num_codes)
        self.logits, self.context_dim, self.context_kind = jnp.zeros(shape), context_dim, "vector"
        self.slopes = jnp.zeros((*shape, context_dim)) if context_dim else None

    def __call__(self, context: Array | None = None) -> Distribution:
        logits = self.logits
        if context is not None:
            logits = logits + jnp.tensordot(context, self.slopes, axes=([-1], [-1]))
        return dist.Categorical(logits=logits).to_event(self.logits.ndim - 1)


class CodeGenerator(eqx.Module):
    """Codebooks, priors of their codes, and the features of the image."""

    codebooks: tuple[Codebook, ...]
    priors: tuple[Callable, ...]
    combine: Conv
    project: Dense | None
    blocks: tuple[SeparableBlock, ...]
    levels: ImageLevels = eqx.field(static=True)
    sites: tuple[str, ...] = eqx.field(static=True)
    commitment: float = eqx.field(static=True)
    event_dim: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        levels: ImageLevels,
        num_codes: int,
        priors: Sequence,
        commitment: float,
        decay: float | None,
    ):
        self.event_dim = 3
        keys = random.split(rng_key, 4 + len(levels.scales))
        count, dim = len(levels.scales), levels.latent_channels
        self.levels, self.commitment = levels, commitment
        self.sites = tuple(f"z{i}" for i in range(count, 0, -1))
        self.codebooks = tuple(Codebook(key, num_codes, dim, decay) for key in keys[4:])
        check_priors(priors, levels)
        self.priors = tuple(priors)
        self.combine = Conv(keys[0], count * dim, levels.channels)
        self.project = None
        if levels.context_dim:
            self.project = Dense(keys[3], levels.context_dim, levels.channels, ())
        blocks = [SeparableBlock(keys[1 + i], levels.channels, kernel_size=3) for i in range(2)]
        self.blocks = tuple(blocks)

    def __call__(self, choose: Callable, batch_shape: tuple, context: Array | None = None) -> Array:
        found = []
        for i, (name, scale) in enumerate(zip(self.sites, self.levels.scales, strict=True)):
            size, book = self.levels.sizes[scale], self.codebooks[i]
            above = resize_nearest(found[-1], *size) if found else None
            codes = codes_given(self.priors[-1 - i], above, context, size)
            if codes.batch_shape != tuple(batch_shape):
                shape = batch_shape if above is None else above.shape[:-3]
                codes = codes.expand(tuple(shape))
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


class CodeRecognition(eqx.Module):
    """Blocks from the image to coarser scales, and the vectors to quantise."""

    stem: Conv
    project: Dense | None
    blocks: tuple[SeparableBlock, ...]
    heads: tuple[Conv, ...]
    levels: ImageLevels = eqx.field(static=True)

    def __init__(self, rng_key: Array, levels: ImageLevels):
        keys = random.split(rng_key, 2 + len(levels.sizes) + len(levels.scales))
        width, z, start = levels.channels, levels.latent_channels, 1 + len(levels.sizes)
        self.levels = levels
        self.stem = Conv(keys[0], levels.image_shape[0], width)
        self.project = None
        if levels.context_dim:
            self.project = Dense(keys[-1], levels.context_dim, width, ())
        blocks = [
            SeparableBlock(keys[1 + i], width, kernel_size=3) for i in range(len(levels.sizes))
        ]
        heads = [
            Conv(keys[start + i], width + (z if i else 0), z) for i in range(len(levels.scales))
        ]
        self.blocks, self.heads = tuple(blocks), tuple(heads)

    def __call__(self, x: Array, context: Array | None, draw: Callable) -> Callable:
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
    prior: Callable, above: Array | None, context: Array | None, size: tuple
) -> Array | None:
    """The context that a prior takes: none, the pair's, or an image."""
    if not getattr(prior, "context_dim", 0):
        return None
    if context_kind_of(prior) == "vector":
        return context
    if context is not None:
        context = jnp.broadcast_to(context[..., None, None], context.shape + tuple(size))
    return joined(above, context, event_dim=3)


def codes_given(
    prior: Callable, above: Array | None, context: Array | None, size: tuple
) -> Distribution:
    """Call a prior with the context that it takes."""
    if not getattr(prior, "context_dim", 0):
        return prior()
    return prior(prior_context(prior, above, context, size))
