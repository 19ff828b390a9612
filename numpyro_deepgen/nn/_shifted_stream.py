"""One stream of PixelCNN++: gated residual blocks on a grid, on its half, and back."""

from collections.abc import Callable, Sequence
from itertools import repeat

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ._causal_transpose import CausalTranspose
from ._linear import Linear
from .autoregressive_network import whole
from .causal_convolution import CausalConv

__all__ = ["Drop", "ShiftedStream", "halved"]


def concat_elu(h: Array) -> Array:
    """Both signs through an exponential linear unit, twice as many channels."""
    below = jnp.expm1(-jnp.abs(h))  # of h or of -h, whichever is negative
    return jnp.concatenate([jnp.where(h >= 0, h, below), jnp.where(h > 0, below, -h)], -1)


def halved(features: Array) -> Array:
    """Means over 2 x 2 places of ``(N, h, w, channels)``; the last ones repeat at odd sides."""
    (n, *sides, channels) = features.shape
    rows, columns = (np.minimum(np.arange(-(-m // 2) * 2), m - 1) for m in sides)
    features = features[:, rows][:, :, columns]
    return features.reshape(n, len(rows) // 2, 2, len(columns) // 2, 2, channels).mean((2, 4))


class Drop:
    """Dropout with another key at each call."""

    def __init__(self, rng_key: Array, rate: float):
        self.rng_key, self.rate, self.count = rng_key, rate, 0

    def __call__(self, h: Array) -> Array:
        key = jax.random.fold_in(self.rng_key, self.count)
        self.count += 1
        keep = jax.random.bernoulli(key, 1.0 - self.rate, h.shape)
        return jnp.where(keep, h / (1.0 - self.rate), 0.0)


class GatedBlock(eqx.Module):
    """Two convolutions, what other features give in between, a gate, and what went in."""

    first: CausalConv
    second: CausalConv
    from_skip: Linear | None
    from_vertical: Linear | None
    context_layer: Linear | None

    def __init__(
        self,
        rng_key: Array,
        width: int,
        offsets: Sequence,
        context_dim: int,
        has_skip: bool,
        has_above: bool,
    ):
        keys = jax.random.split(rng_key, 5)
        self.first = CausalConv(keys[0], 2 * width, width, offsets)
        self.second = CausalConv(keys[1], 2 * width, 2 * width, offsets)
        self.from_skip = self.from_vertical = self.context_layer = None
        if has_skip:
            self.from_skip = Linear(keys[2], 2 * width, width, use_bias=False)
        if has_above:
            self.from_vertical = Linear(keys[3], 2 * width, width, use_bias=False)
        if context_dim:
            self.context_layer = Linear(keys[4], context_dim, 2 * width, use_bias=False)

    def __call__(self, h, active, skip, above, features, conv: Callable, drop: Callable) -> Array:
        """Return the next features, from these, their activations and those of a skip."""
        y = conv(self.first, active)
        if skip is not None:
            y = y + self.from_skip(skip)
        if above is not None:
            y = y + above
        y = conv(self.second, drop(concat_elu(y)))
        if features is not None:
            y = y + self.context_layer(features)
        value, gate = jnp.split(y, 2, -1)
        # the logistic function, as the compiler has a fast hyperbolic tangent
        return h + value * (0.5 + 0.5 * jnp.tanh(0.5 * gate))


class ShiftedStream(eqx.Module):
    """A first convolution, and blocks on ever coarser grids and back, with long skips.

    Args:
        rng_key: random key of the starting weights.
        in_channels: numbers of one position.
        width: channels of the features.
        first: offsets of the first convolution.
        offsets: offsets of all others, of two rows.
        num_scales: number of grids.
        num_blocks: blocks of a grid on the way down.
        context_dim: size of the context, 0 for none.
        has_above: whether blocks get features of another stream.
    """

    first: CausalConv
    down: tuple[tuple[GatedBlock, ...], ...]
    shrink: tuple[CausalConv, ...]
    grow: tuple[CausalTranspose, ...]
    up: tuple[tuple[GatedBlock, ...], ...]

    def __init__(
        self,
        rng_key: Array,
        in_channels: int,
        width: int,
        first: Sequence,
        offsets: Sequence,
        num_scales: int,
        num_blocks: int,
        context_dim: int,
        has_above: bool,
    ):
        keys = iter(jax.random.split(rng_key, 1 + num_scales * (2 * num_blocks + 3)))

        def blocks(count: int, has_skip: bool) -> tuple[GatedBlock, ...]:
            sizes = width, offsets, context_dim, has_skip, has_above
            return tuple(GatedBlock(next(keys), *sizes) for _ in range(count))

        steps = range(num_scales - 1)
        # columns of a transposed convolution are those of the convolution mirrored
        columns = sorted({-column for _, column in offsets})
        self.first = CausalConv(next(keys), in_channels, width, first)
        self.down = tuple(blocks(num_blocks, False) for _ in range(num_scales))
        self.shrink = tuple(CausalConv(next(keys), width, width, offsets, stride=2) for _ in steps)
        self.grow = tuple(CausalTranspose(next(keys), width, width, columns) for _ in steps)
        # a finer grid has a skip from its first features too
        counts = [*(num_blocks + 1 for _ in steps), num_blocks]
        self.up = tuple(blocks(count, True) for count in counts)

    def blocks(self, scale: int) -> list[GatedBlock]:
        """The blocks of a grid, as they are passed through."""
        return [*self.down[scale], *self.up[scale]]

    def project(self, scale: int, found: list[Array]) -> list[Array]:
        """What the blocks of a grid take from activations of another stream."""
        blocks = self.blocks(scale)
        return [block.from_vertical(active) for block, active in zip(blocks, found, strict=True)]

    def convs(self, scale: int) -> list[CausalConv]:
        """The convolutions of these blocks."""
        return [conv for block in self.blocks(scale) for conv in (block.first, block.second)]

    def level(
        self, scale: int, h: Array, above, features, conv: Callable, drop: Callable, coarser
    ) -> tuple[Array, list[Array]]:
        """Pass through the blocks of one grid, and through ``coarser`` half way.

        Returns:
            The features, and the activations behind every block.
        """
        active = concat_elu(h)
        above, skips, found = iter(above or repeat(None)), [active], []
        for block in self.down[scale]:
            h = block(h, active, None, next(above), features, conv, drop)
            active = concat_elu(h)
            skips.append(active)
            found.append(active)
        if scale < len(self.grow):
            h = coarser(h)
            active = concat_elu(h)
        else:
            skips.pop()
        for block in self.up[scale]:
            h = block(h, active, skips.pop(), next(above), features, conv, drop)
            active = concat_elu(h)
            found.append(active)
        return h, found

    def run(
        self, h: Array, above, pyramid: Sequence, drop: Callable, scale: int = 0
    ) -> tuple[Array, list[list[Array]]]:
        """Pass all positions through this grid and the coarser ones."""
        coarse = []

        def coarser(h):
            below = self.shrink[scale](h)
            below, found = self.run(below, above, pyramid, drop, scale + 1)
            coarse.extend(found)
            return self.grow[scale](below, h.shape[1:3])

        given = above[scale] if above else None
        h, found = self.level(scale, h, given, pyramid[scale], whole, drop, coarser)
        return h, [found, *coarse]
