"""One stream of PixelCNN++: gated residual blocks on a grid, on its half, and back."""

from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from ._causal_transpose import CausalTranspose
from .autoregressive_network import whole
from .causal_convolution import CausalConv

__all__ = ["ShiftedStream", "halved"]


def concat_elu(h: Tensor) -> Tensor:
    """Both signs through an exponential linear unit, twice as many channels."""
    return elu(torch.cat([h, -h], -1))


def halved(features: Tensor) -> Tensor:
    """Means over 2 x 2 places of ``(N, h, w, channels)``; the last ones repeat at odd sides."""
    sides = features.shape[1:3]
    rows, columns = (
        torch.arange(-(-n // 2) * 2, device=features.device).clamp(max=n - 1) for n in sides
    )
    features = features.index_select(1, rows).index_select(2, columns)
    return features.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean((2, 4))


class GatedBlock(nn.Module):
    """Two convolutions, what other features give in between, a gate, and what went in."""

    def __init__(
        self, width: int, offsets: Sequence, context_dim: int, has_skip: bool, has_above: bool
    ):
        super().__init__()
        self.first = CausalConv(2 * width, width, offsets)
        self.second = CausalConv(2 * width, 2 * width, offsets)
        self.from_skip = nn.Linear(2 * width, width, bias=False) if has_skip else None
        self.from_vertical = nn.Linear(2 * width, width, bias=False) if has_above else None
        self.context_layer = None
        if context_dim:
            self.context_layer = nn.Linear(context_dim, 2 * width, bias=False)

    def forward(self, h, active, skip, above, features, conv: Callable, drop: Callable) -> Tensor:
        """Return the next features, from these, their activations and those of a skip."""
        y = conv(self.first, active)
        if skip is not None:
            y = y + self.from_skip(skip)
        if above is not None:
            y = y + above
        y = conv(self.second, drop(concat_elu(y)))
        if features is not None:
            y = y + self.context_layer(features)
        value, gate = y.chunk(2, -1)
        return h + value * torch.sigmoid(gate)


class ShiftedStream(nn.Module):
    """A first convolution, and blocks on ever coarser grids and back, with long skips.

    Args:
        in_channels: numbers of one position.
        width: channels of the features.
        first: offsets of the first convolution.
        offsets: offsets of all others, of two rows.
        num_scales: number of grids.
        num_blocks: blocks of a grid on the way down.
        context_dim: size of the context, 0 for none.
        has_above: whether blocks get features of another stream.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        first: Sequence,
        offsets: Sequence,
        num_scales: int,
        num_blocks: int,
        context_dim: int,
        has_above: bool,
    ):
        super().__init__()

        def blocks(count: int, has_skip: bool) -> nn.ModuleList:
            return nn.ModuleList(
                GatedBlock(width, offsets, context_dim, has_skip, has_above) for _ in range(count)
            )

        steps = range(num_scales - 1)
        # columns of a transposed convolution are those of the convolution mirrored
        columns = sorted({-column for _, column in offsets})
        self.first = CausalConv(in_channels, width, first)
        self.down = nn.ModuleList(blocks(num_blocks, False) for _ in range(num_scales))
        self.shrink = nn.ModuleList(CausalConv(width, width, offsets, stride=2) for _ in steps)
        self.grow = nn.ModuleList(CausalTranspose(width, width, columns) for _ in steps)
        # a finer grid has a skip from its first features too
        counts = [*(num_blocks + 1 for _ in steps), num_blocks]
        self.up = nn.ModuleList(blocks(count, True) for count in counts)

    def blocks(self, scale: int) -> list[GatedBlock]:
        """The blocks of a grid, as they are passed through."""
        return [*self.down[scale], *self.up[scale]]

    def project(self, scale: int, found: list[Tensor]) -> list[Tensor]:
        """What the blocks of a grid take from activations of another stream."""
        blocks = self.blocks(scale)
        return [block.from_vertical(active) for block, active in zip(blocks, found, strict=True)]

    def convs(self, scale: int) -> list[CausalConv]:
        """The convolutions of these blocks."""
        return [conv for block in self.blocks(scale) for conv in (block.first, block.second)]

    def level(
        self, scale: int, h: Tensor, above, features, conv: Callable, drop: Callable, coarser
    ) -> tuple[Tensor, list[Tensor]]:
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
        self, h: Tensor, above, pyramid: Sequence, drop: Callable, scale: int = 0
    ) -> tuple[Tensor, list[list[Tensor]]]:
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
