"""Groups of latent images in top-down models: priors, what draws change, posteriors."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax import Array, random
from jax import nn as jnn
from numpyro.distributions import Distribution

from ..nn import BottleneckBlock, Conv, Dense, SeparableBlock, average_pool, resize_nearest
from .image_settings import ImageLevels
from .normals import joined, normal_of, residual_normal_of

__all__ = ["ImageGenerator", "ImageRecognition"]


class BottleneckLevel(eqx.Module):
    """A group between bottleneck blocks, which give features beside the prior."""

    prior_net: BottleneckBlock
    project: Conv
    block: BottleneckBlock
    latent_channels: int = eqx.field(static=True)

    def __init__(self, rng_key: Array, levels: ImageLevels, scale: int):
        keys = random.split(rng_key, 3)
        width, z, start = levels.channels, levels.latent_channels, levels.init_scale
        hidden, kernel = levels.hidden_channels, levels.kernel_size(scale)
        self.latent_channels = z
        # zeros: the prior starts as the standard normal one (Child 2021, section 3.2)
        self.prior_net = BottleneckBlock(
            keys[0], width, 2 * z + width, hidden, kernel, init_scale=0.0
        )
        self.project = Conv(keys[1], z, width, 1, init_scale=start)
        self.block = BottleneckBlock(keys[2], width, width, hidden, kernel, init_scale=start)

    def prior(self, h: Array) -> tuple[Distribution, Array]:
        params, cut = self.prior_net(h), 2 * self.latent_channels
        return normal_of(params[..., :cut, :, :], 3), h + params[..., cut:, :, :]

    def merge(self, h: Array, z: Array) -> Array:
        return self.block(h + self.project(z))


class SeparableLevel(eqx.Module):
    """A group between residual blocks of depthwise convolutions."""

    prior_net: Conv
    combine: Conv
    block: SeparableBlock

    def __init__(self, rng_key: Array, levels: ImageLevels, scale: int):
        keys = random.split(rng_key, 3)
        width, z = levels.channels, levels.latent_channels
        self.prior_net = Conv(keys[0], width, 2 * z, 1, init_scale=levels.init_scale)
        self.combine = Conv(keys[1], width + z, width, 1)
        self.block = SeparableBlock(keys[2], width, kernel_size=levels.kernel_size(scale, 5))

    def prior(self, h: Array) -> tuple[Distribution, Array]:
        return normal_of(self.prior_net(jnn.elu(h)), 3), h

    def merge(self, h: Array, z: Array) -> Array:
        return self.block(self.combine(joined(h, z, event_dim=3)))


class ImageGenerator(eqx.Module):
    """Groups of latent images from the coarsest to the finest, and their features."""

    start: Array
    project: Dense | None
    groups: tuple[Callable, ...]
    levels: ImageLevels = eqx.field(static=True)
    sites: tuple[str, ...] = eqx.field(static=True)
    event_dim: int = eqx.field(static=True)

    def __init__(self, rng_key: Array, levels: ImageLevels, separable: bool):
        self.event_dim = 3
        keys = random.split(rng_key, len(levels.scales) + 1)
        self.levels, kind = levels, SeparableLevel if separable else BottleneckLevel
        self.sites = tuple(f"z{i}" for i in range(len(levels.scales), 0, -1))
        shape = (levels.channels, *levels.sizes[levels.scales[0]])
        self.start = jnp.zeros(shape)
        self.project = None
        if levels.context_dim:
            self.project = Dense(keys[-1], levels.context_dim, levels.channels, ())
        groups = [kind(keys[i], levels, scale) for i, scale in enumerate(levels.scales)]
        self.groups = tuple(groups)

    def __call__(self, choose: Callable, batch_shape: tuple, context: Array | None = None) -> Array:
        h = jnp.broadcast_to(self.start, tuple(batch_shape) + self.start.shape)
        if context is not None:
            h = h + self.project(context)[..., None, None]
        for name, scale, group in zip(self.sites, self.levels.scales, self.groups, strict=True):
            h = resize_nearest(h, *self.levels.sizes[scale])
            prior, h = group.prior(h)
            h = group.merge(h, choose(name, prior, h))
        return resize_nearest(h, *self.levels.sizes[0])


class ImageRecognition(eqx.Module):
    """Blocks from the image to ever coarser scales, and the heads of the posteriors."""

    stem: Conv
    project: Dense | None
    blocks: tuple[Callable, ...]
    heads: tuple[Callable, ...]
    levels: ImageLevels = eqx.field(static=True)
    separable: bool = eqx.field(static=True)

    def __init__(self, rng_key: Array, levels: ImageLevels, separable: bool):
        keys = random.split(rng_key, 2 + len(levels.sizes) + len(levels.scales))
        self.levels, self.separable = levels, separable
        width, z, hidden = levels.channels, levels.latent_channels, levels.hidden_channels
        self.stem = Conv(keys[0], levels.image_shape[0], width)
        self.project = None
        if levels.context_dim:
            self.project = Dense(keys[1], levels.context_dim, width, ())
        blocks, heads = [], []
        for i in range(len(levels.sizes)):
            if separable:
                kernel = levels.kernel_size(i, 5)
                blocks.append(SeparableBlock(keys[2 + i], width, kernel_size=kernel))
            else:
                kernel, start = levels.kernel_size(i), levels.init_scale
                blocks.append(
                    BottleneckBlock(keys[2 + i], width, width, hidden, kernel, init_scale=start)
                )
        for i, scale in enumerate(levels.scales, 2 + len(levels.sizes)):
            kernel = levels.kernel_size(scale)
            if separable:
                start = levels.init_scale
                heads.append(Conv(keys[i], 2 * width, 2 * z, kernel, init_scale=start))
            else:
                heads.append(BottleneckBlock(keys[i], 2 * width, 2 * z, hidden, kernel))
        self.blocks, self.heads = tuple(blocks), tuple(heads)

    def __call__(self, x: Array, context: Array | None, draw: Callable) -> Callable:
        d, found = self.stem(self.levels.rescaled(x, self.stem.weight)), []
        if context is not None:
            d = d + self.project(context)[..., None, None]
        for size, block in zip(self.levels.sizes, self.blocks, strict=True):
            d = block(average_pool(d, *size))
            found.append(d)

        def posterior(name: str, prior: Distribution, h: Array) -> Distribution:
            place = len(self.heads) - int(name[1:])
            features = found[self.levels.scales[place]]
            params = self.heads[place](joined(h, features, event_dim=3))
            if self.separable:
                return residual_normal_of(prior, params, 3)
            return normal_of(params, 3)

        return posterior
