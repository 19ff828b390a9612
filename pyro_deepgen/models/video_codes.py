"""Codes of videos: the vectors to quantise, what they make, and distributions of them."""

from collections.abc import Callable

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor, nn
from torch.nn.functional import relu

from .._numerics.video_sizes import VideoSizes
from ..distributions.vector_quantized import CodebookPrior, VectorQuantized
from ..nn import BlockLocalAttention, BottleneckBlock, Codebook, Conv, ConvTranspose, Dense
from ..nn.flat_inputs import as_numbers

__all__ = ["UniformCodes", "VideoCodeGenerator", "VideoCodeRecognition", "check_video_prior"]


class UniformCodes(nn.Module):
    """Independent codes of equal chances, without parameters.

    Args:
        code_shape: shape of the codes.
        num_codes: number of codes.
    """

    context_dim = 0

    def __init__(self, code_shape: tuple[int, ...], num_codes: int):
        super().__init__()
        self.register_buffer("logits", torch.zeros(*code_shape, num_codes), persistent=False)

    def forward(self) -> Distribution:
        return dist.Categorical(logits=self.logits).to_event(self.logits.dim() - 1)


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


class VideoCodeGenerator(nn.Module):
    """A codebook, the prior of its codes, and the features of the video."""

    event_dim, sites = 4, ("z1",)

    def __init__(
        self,
        sizes: VideoSizes,
        num_codes: int,
        prior: Callable,
        commitment: float,
        decay: float | None,
    ):
        super().__init__()
        self.sizes, self.commitment = sizes, commitment
        self.codebooks = nn.ModuleList([Codebook(num_codes, sizes.code_dim, decay)])
        self.priors = nn.ModuleList([check_video_prior(prior, sizes.context_dim)])
        self.first = Conv(sizes.code_dim, sizes.channels, spatial_dims=3)
        self.project = _projection(sizes)
        self.blocks = _blocks(sizes)
        self.layers = nn.ModuleList(
            ConvTranspose(sizes.channels, sizes.channels, stride=stride, spatial_dims=3)
            for stride in reversed(sizes.strides)
        )

    def forward(
        self, choose: Callable, batch_shape: tuple, context: Tensor | None = None
    ) -> Tensor:
        (prior,), (book,) = self.priors, self.codebooks
        codes = prior(context) if getattr(prior, "context_dim", 0) else prior()
        if codes.batch_shape != tuple(batch_shape):
            codes = codes.expand(torch.Size(batch_shape))
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


class VideoCodeRecognition(nn.Module):
    """Convolutions from the video to the vectors to quantise."""

    def __init__(self, sizes: VideoSizes):
        super().__init__()
        self.sizes, width = sizes, sizes.channels
        self.stem = Conv(sizes.video_shape[0], width, spatial_dims=3)
        self.project = _projection(sizes)
        self.layers = nn.ModuleList(
            Conv(width, width, stride=stride, spatial_dims=3) for stride in sizes.strides
        )
        self.blocks = _blocks(sizes)
        self.head = Conv(width, sizes.code_dim, 1, spatial_dims=3)

    def forward(self, x: Tensor, context: Tensor | None, draw: Callable) -> Callable:
        h = self.stem(as_numbers(x, self, self.sizes.input_range))
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


class _AxialAttention(nn.Module):
    """Attention along time, then height, then width, channels first."""

    def __init__(self, sizes: VideoSizes):
        super().__init__()
        shape = sizes.code_shape
        self.layers = nn.ModuleList(
            BlockLocalAttention(shape, along, sizes.channels, sizes.num_heads)
            for along in axes_of(shape)
        )

    def forward(self, h: Tensor) -> Tensor:
        h = h.movedim(-4, -1)
        for layer in self.layers:
            h = layer(h)
        return h.movedim(-1, -4)


def axes_of(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of blocks that are whole lines, one for each axis."""
    return [tuple(n if i == j else 1 for i, n in enumerate(shape)) for j in range(len(shape))]


def _blocks(sizes: VideoSizes) -> nn.ModuleList:
    """Residual blocks at the scale of the codes, each perhaps with attention behind it."""
    width, found = sizes.channels, []
    scale = max(sizes.num_blocks, 1) ** -0.5
    for _ in range(sizes.num_blocks):
        hidden = max(width // 2, 1)
        found.append(BottleneckBlock(width, width, hidden, init_scale=scale, spatial_dims=3))
        if sizes.num_heads:
            found.append(_AxialAttention(sizes))
    return nn.ModuleList(found)


def _projection(sizes: VideoSizes) -> Dense | None:
    return Dense(sizes.context_dim, sizes.channels, ()) if sizes.context_dim else None
