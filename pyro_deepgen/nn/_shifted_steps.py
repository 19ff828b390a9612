"""The streams of PixelCNN++, a row and a position at a time.

Of each grid a state keeps past rows of the vertical stream and past inputs of the horizontal one,
and for its positions what the coarser grid gave last. A coarser grid goes on at every other row and
column.
"""

import torch
from torch import Tensor

from .autoregressive_network import at

__all__ = ["init_positions", "init_rows", "next_position", "next_row", "unchanged"]


def init_rows(network, num_rows: int, like: Tensor, scale: int = 0) -> dict:
    """Return the state of the vertical stream on a grid and the coarser ones."""
    (_, columns), width = network.sides[scale], network.last.in_features

    def zeros(*shape):
        return like.new_zeros(num_rows, *shape)

    convs, blocks = network.vertical.convs(scale), network.horizontal.blocks(scale)
    state = {
        "pasts": [zeros(1, columns, conv.in_channels) for conv in convs],
        "above": [zeros(columns, width) for _ in blocks],
    }
    if scale + 1 < network.num_scales:
        state["last"] = zeros(1, columns, width)
        state["out"] = zeros(network.sides[scale + 1][1], width)
        state["below"] = init_rows(network, num_rows, like, scale + 1)
    return state


def init_positions(network, num_rows: int, like: Tensor, scale: int = 0) -> dict:
    """Return the state of the horizontal stream on a grid and the coarser ones."""
    stream, sides = network.horizontal, network.sides
    buffers = [conv.init_buffer(num_rows, sides[scale]) for conv in stream.convs(scale)]
    state = {"buffers": buffers}
    if scale + 1 < network.num_scales:
        state["shrink"] = stream.shrink[scale].init_buffer(num_rows, sides[scale])
        state["out"] = [like.new_zeros(num_rows, network.last.in_features)] * sides[scale + 1][1]
        state["below"] = init_positions(network, num_rows, like, scale + 1)
    return state


def next_row(network, v: Tensor, row: int, state: dict, contexts, scale: int = 0) -> Tensor:
    """Pass a row of a grid through the vertical stream, and change the state."""
    stream, pasts = network.vertical, []

    def conv(layer, h):
        window = torch.cat([state["pasts"][len(pasts)], h.unsqueeze(1)], 1)
        pasts.append(window[:, 1:])
        return layer.row(window)

    def coarser(h):
        # the rows up to this one complete a row of the coarser grid if its number is even
        if row % 2 == 0:
            window = torch.cat([state["last"], h.unsqueeze(1)], 1)
            below = stream.shrink[scale].row(window)
            state["out"] = next_row(network, below, row // 2, state["below"], contexts, scale + 1)
        state["last"] = h.unsqueeze(1)
        return stream.grow[scale].row(state["out"], row % 2, h.shape[1])

    features = contexts[scale]
    if features is not None:
        features = features[:, row if features.shape[1] > 1 else 0]
    v, found = stream.level(scale, v, None, features, conv, unchanged, coarser)
    state.update(pasts=pasts, above=network.horizontal.project(scale, found))
    return v


def next_position(
    network, h: Tensor, row: int, column: int, state: dict, rows: dict, features, scale: int = 0
) -> Tensor:
    """Pass a position of a grid through the horizontal stream, and change the state."""
    stream, index = network.horizontal, row * network.sides[scale][1] + column
    buffers = iter(state["buffers"])

    def conv(layer, h):
        return layer.step(next(buffers), h, index)[0]

    def coarser(h):
        shrink = stream.shrink[scale]
        shrink.write(state["shrink"], h, index)
        place = row // 2, column // 2
        if row % 2 == 0 and column % 2 == 0:
            below = shrink.read(state["shrink"], index)
            state["out"][column // 2] = next_position(
                network, below, *place, state["below"], rows["below"], features, scale + 1
            )
        return stream.grow[scale].position(state["out"][column // 2], row % 2, column % 2)

    above, here = [v[:, column] for v in rows["above"]], at(features[scale], index)
    return stream.level(scale, h, above, here, conv, unchanged, coarser)[0]


def unchanged(h: Tensor) -> Tensor:
    return h
