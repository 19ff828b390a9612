"""Codes of videos: the vectors to quantise, what they make, and distributions of them."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax import Array, random
from jax.nn import relu
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from .._numerics.video_sizes import VideoSizes
from ..distributions.vector_quantized import CodebookPrior, VectorQuantized
from ..nn import BlockLocalAttention, BottleneckBlock, Codebook, Conv, ConvTranspose, Dense
from ..nn.flat_inputs import as_numbers

__all__ = ["UniformCodes", "VideoCodeGenerator", "VideoCodeRecognition", "check_video_prior"]


class UniformCodes(eqx.Module):
    """Independent codes of equal chances, without parameters.

    Args:
        code_shape: shape of the codes.
        num_codes: number of codes.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)

    def __init__(self, code_shape: tuple[int, ...], num_codes: int):
        self.shape, self.context_dim = (*code_shape, num_codes), 0

    def __call__(self) -> Distribution:
        return dist.Categorical(logits=jnp.zeros(self.shape)).to_event(len(self.shape) - 1)


def check_video_prior(prior: Callable, context_dim: int) -> Callable:
    """Return a distribution of codes that takes no context or the pair's, or raise."""
    size = getattr(prior, "context_dim", 0)
    kind = getattr(getattr(prior, "network", prior), "context_kind", "vector")
    if size and (size != context_dim or kind != "vector"):
        raise ValueError(
            f"prior must have no context, or one of kind 'vector' and size {context_dim}, got "
            f"{kind!r} and {size}; build it with another context_dim."
        )
    return prior


class VideoCodeGenerator(eqx.Module):
    """A codebook, the prior of its codes, and the features of the video."""

    codebooks: tuple[Codebook, ...]
    priors: tuple[Callable, ...]
    first: Conv
    project: Dense | None
    blocks: tuple[eqx.Module, ...]
    layers: tuple[ConvTranspose, ...]
    sizes: VideoSizes = eqx.field(static=True)
    commitment: float = eqx.field(static=True)
    event_dim: int = eqx.field(static=True)
    sites: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        sizes: VideoSizes,
        num_codes: int,
        prior: Callable,
        commitment: float,
        decay: float | None,
    ):
        self.event_dim, self.sites = 4, ("z1",)
        self.sizes, self.commitment = sizes, commitment
        keys = random.split(rng_key, 4 + len(sizes.strides))
        self.codebooks = (Codebook(keys[0], num_codes, sizes.code_dim, decay),)
        self.priors = (check_video_prior(prior, sizes.context_dim),)
        self.first = Conv(keys[1], sizes.code_dim, sizes.channels, spatial_dims=3)
        self.project = _projection(keys[2], sizes)
        self.blocks = _blocks(keys[3], sizes)
        self.layers = tuple(
            ConvTranspose(key, sizes.channels, sizes.channels, stride=stride, spatial_dims=3)
            for key, stride in zip(keys[4:], reversed(sizes.strides), strict=True)
        )

    def __call__(self, choose: Callable, batch_shape: tuple, context: Array | None = None) -> Array:
        (prior,), (book,) = self.priors, self.codebooks
        codes = prior(context) if getattr(prior, "context_dim", 0) else prior()
        if codes.batch_shape != tuple(batch_shape):
            codes = codes.expand(tuple(batch_shape))
        state = (book.weight, self.commitment, 1.0 if book.decay is None else 0.0)
        h = self.first(choose(self.sites[0], CodebookPrior(codes, book.weight), state))
        if context is not None:
            h = h + self.project(context)[..., None, None, None]
        for block in self.blocks:
            h = block(h)
        for layer, (time, height, width) in zip(
            self.layers, reversed(self.sizes.sides[:-1]), strict=True
        ):
            h = layer(relu(h))[..., :time, :height, :width]
        return relu(h)


class VideoCodeRecognition(eqx.Module):
    """Convolutions from the video to the vectors to quantise."""

    stem: Conv
    project: Dense | None
    layers: tuple[Conv, ...]
    blocks: tuple[eqx.Module, ...]
    head: Conv
    sizes: VideoSizes = eqx.field(static=True)

    def __init__(self, rng_key: Array, sizes: VideoSizes):
        self.sizes, width = sizes, sizes.channels
        keys = random.split(rng_key, 4 + len(sizes.strides))
        self.stem = Conv(keys[0], sizes.video_shape[0], width, spatial_dims=3)
        self.project = _projection(keys[1], sizes)
        self.layers = tuple(
            Conv(key, width, width, stride=stride, spatial_dims=3)
            for key, stride in zip(keys[4:], sizes.strides, strict=True)
        )
        self.blocks = _blocks(keys[2], sizes)
        self.head = Conv(keys[3], width, sizes.code_dim, 1, spatial_dims=3)

    def __call__(self, x: Array, context: Array | None, draw: Callable) -> Callable:
        h = self.stem(as_numbers(x, self.sizes.input_range))
        if context is not None:
            h = h + self.project(context)[..., None, None, None]
        for layer in self.layers:
            h = layer(relu(h))
        for block in self.blocks:
            h = block(h)
        inputs = self.head(h)

        def posterior(name: str, prior: Distribution, state: tuple) -> Distribution:
            return VectorQuantized(inputs, *state, event_dim=4)

        return posterior


class _AxialAttention(eqx.Module):
    """Attention along time, then height, then width, channels first."""

    layers: tuple[BlockLocalAttention, ...]

    def __init__(self, rng_key: Array, sizes: VideoSizes):
        shape = sizes.code_shape
        self.layers = tuple(
            BlockLocalAttention(key, shape, along, sizes.channels, sizes.num_heads)
            for key, along in zip(random.split(rng_key, 3), axes_of(shape), strict=True)
        )

    def __call__(self, h: Array) -> Array:
        h = jnp.moveaxis(h, -4, -1)
        for layer in self.layers:
            h = layer(h)
        return jnp.moveaxis(h, -1, -4)


def axes_of(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of blocks that are whole lines, one for each axis."""
    return [tuple(n if i == j else 1 for i, n in enumerate(shape)) for j in range(len(shape))]


def _blocks(rng_key: Array, sizes: VideoSizes) -> tuple[eqx.Module, ...]:
    """Residual blocks at the scale of the codes, each perhaps with attention behind it."""
    width, found = sizes.channels, []
    scale = max(sizes.num_blocks, 1) ** -0.5
    for key in random.split(rng_key, sizes.num_blocks):
        keys, hidden = random.split(key), max(width // 2, 1)
        found.append(
            BottleneckBlock(keys[0], width, width, hidden, init_scale=scale, spatial_dims=3)
        )
        if sizes.num_heads:
            found.append(_AxialAttention(keys[1], sizes))
    return tuple(found)


def _projection(rng_key: Array, sizes: VideoSizes) -> Dense | None:
    return Dense(rng_key, sizes.context_dim, sizes.channels, ()) if sizes.context_dim else None
