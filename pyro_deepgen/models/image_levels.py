"""Groups of latent images in top-down models: priors, what draws change, posteriors."""

from collections.abc import Callable

import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from ..nn import BottleneckBlock, Conv, Dense, SeparableBlock, average_pool, resize_nearest
from .image_settings import ImageLevels
from .normals import joined, normal_of, residual_normal_of

__all__ = ["ImageGenerator", "ImageRecognition"]


class BottleneckLevel(nn.Module):
    """A group between bottleneck blocks, which give features beside the prior."""

    def __init__(self, levels: ImageLevels, scale: int):
        super().__init__()
        width, z, start = levels.channels, levels.latent_channels, levels.init_scale
        hidden, kernel = levels.hidden_channels, levels.kernel_size(scale)
        self.latent_channels = z
        # zeros: the prior starts as the standard normal one (Child 2021, section 3.2)
        self.prior_net = BottleneckBlock(width, 2 * z + width, hidden, kernel, init_scale=0.0)
        self.project = Conv(z, width, 1, init_scale=start)
        self.block = BottleneckBlock(width, width, hidden, kernel, init_scale=start)

    def prior(self, h: Tensor) -> tuple[Distribution, Tensor]:
        params, cut = self.prior_net(h), 2 * self.latent_channels
        return normal_of(params[..., :cut, :, :], 3), h + params[..., cut:, :, :]

    def merge(self, h: Tensor, z: Tensor) -> Tensor:
        return self.block(h + self.project(z))


class SeparableLevel(nn.Module):
    """A group between residual blocks of depthwise convolutions."""

    def __init__(self, levels: ImageLevels, scale: int):
        super().__init__()
        width, z = levels.channels, levels.latent_channels
        self.prior_net = Conv(width, 2 * z, 1, init_scale=levels.init_scale)
        self.combine = Conv(width + z, width, 1)
        self.block = SeparableBlock(width, kernel_size=levels.kernel_size(scale, 5))

    def prior(self, h: Tensor) -> tuple[Distribution, Tensor]:
        return normal_of(self.prior_net(nn.functional.elu(h)), 3), h

    def merge(self, h: Tensor, z: Tensor) -> Tensor:
        return self.block(self.combine(joined(h, z, event_dim=3)))


class ImageGenerator(nn.Module):
    """Groups of latent images from the coarsest to the finest, and their features."""

    event_dim = 3

    def __init__(self, levels: ImageLevels, separable: bool):
        super().__init__()
        self.levels, kind = levels, SeparableLevel if separable else BottleneckLevel
        self.sites = tuple(f"z{i}" for i in range(len(levels.scales), 0, -1))
        shape = (levels.channels, *levels.sizes[levels.scales[0]])
        self.start = nn.Parameter(torch.zeros(shape))
        self.project = None
        if levels.context_dim:
            self.project = Dense(levels.context_dim, levels.channels, ())
        groups = [kind(levels, scale) for scale in levels.scales]
        self.groups = nn.ModuleList(groups)

    def forward(
        self, choose: Callable, batch_shape: tuple, context: Tensor | None = None
    ) -> Tensor:
        h = self.start.expand(tuple(batch_shape) + self.start.shape)
        if context is not None:
            h = h + self.project(context)[..., None, None]
        for name, scale, group in zip(self.sites, self.levels.scales, self.groups, strict=True):
            h = resize_nearest(h, *self.levels.sizes[scale])
            prior, h = group.prior(h)
            h = group.merge(h, choose(name, prior, h))
        return resize_nearest(h, *self.levels.sizes[0])


class ImageRecognition(nn.Module):
    """Blocks from the image to ever coarser scales, and the heads of the posteriors."""

    def __init__(self, levels: ImageLevels, separable: bool):
        super().__init__()
        self.levels, self.separable = levels, separable
        width, z, hidden = levels.channels, levels.latent_channels, levels.hidden_channels
        self.stem = Conv(levels.image_shape[0], width)
        self.project = None
        if levels.context_dim:
            self.project = Dense(levels.context_dim, width, ())
        blocks, heads = [], []
        for i in range(len(levels.sizes)):
            if separable:
                kernel = levels.kernel_size(i, 5)
                blocks.append(SeparableBlock(width, kernel_size=kernel))
            else:
                kernel, start = levels.kernel_size(i), levels.init_scale
                blocks.append(BottleneckBlock(width, width, hidden, kernel, init_scale=start))
        for scale in levels.scales:
            kernel = levels.kernel_size(scale)
            if separable:
                start = levels.init_scale
                heads.append(Conv(2 * width, 2 * z, kernel, init_scale=start))
            else:
                heads.append(BottleneckBlock(2 * width, 2 * z, hidden, kernel))
        self.blocks, self.heads = nn.ModuleList(blocks), nn.ModuleList(heads)

    def forward(self, x: Tensor, context: Tensor | None, draw: Callable) -> Callable:
        d, found = self.stem(self.levels.rescaled(x, self.stem.weight)), []
        if context is not None:
            d = d + self.project(context)[..., None, None]
        for size, block in zip(self.levels.sizes, self.blocks, strict=True):
            d = block(average_pool(d, *size))
            found.append(d)

        def posterior(name: str, prior: Distribution, h: Tensor) -> Distribution:
            place = len(self.heads) - int(name[1:])
            features = found[self.levels.scales[place]]
            params = self.heads[place](joined(h, features, event_dim=3))
            if self.separable:
                return residual_normal_of(prior, params, 3)
            return normal_of(params, 3)

        return posterior
