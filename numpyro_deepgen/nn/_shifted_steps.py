"""The streams of PixelCNN++, a row and a position at a time.

Of each grid a state keeps past rows of the vertical stream and past inputs of the horizontal one,
and for its positions what the coarser grid gave last. A coarser grid goes on at every other row and
column.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax

from .autoregressive_network import at

__all__ = ["init_positions", "init_rows", "next_position", "next_row", "unchanged", "when"]


def init_rows(network, num_rows: int, dtype, scale: int = 0) -> dict:
    """Return the state of the vertical stream on a grid and the coarser ones."""
    (_, columns), width = network.sides[scale], network.last.weight.shape[1]

    def zeros(*shape):
        return jnp.zeros((num_rows, *shape), dtype)

    convs, blocks = network.vertical.convs(scale), network.horizontal.blocks(scale)
    state = {
        "pasts": [zeros(1, columns, conv.in_channels) for conv in convs],
        "above": [zeros(columns, width) for _ in blocks],
    }
    if scale + 1 < network.num_scales:
        state["last"] = zeros(1, columns, width)
        state["coarser"] = {
            "out": zeros(network.sides[scale + 1][1], width),
            "below": init_rows(network, num_rows, dtype, scale + 1),
        }
    return state


def init_positions(network, num_rows: int, dtype, scale: int = 0) -> dict:
    """Return the state of the horizontal stream on a grid and the coarser ones."""
    stream, sides = network.horizontal, network.sides
    buffers = [conv.init_buffer(num_rows, sides[scale]) for conv in stream.convs(scale)]
    state = {"buffers": buffers}
    if scale + 1 < network.num_scales:
        shape = sides[scale + 1][1], num_rows, network.last.weight.shape[1]
        state["shrink"] = stream.shrink[scale].init_buffer(num_rows, sides[scale])
        state["coarser"] = {
            "out": jnp.zeros(shape, dtype),
            "below": init_positions(network, num_rows, dtype, scale + 1),
        }
    return state


def next_row(network, v: Array, row: Array, state: dict, contexts, scale: int = 0):
    """Pass a row of a grid through the vertical stream; returns features and a state."""
    stream, new = network.vertical, {"pasts": []}

    def conv(layer, h):
        window = jnp.concatenate([state["pasts"][len(new["pasts"])], h[:, None]], 1)
        new["pasts"].append(window[:, 1:])
        return layer.row(window)

    def coarser(h):
        def advance(kept):
            window = jnp.concatenate([state["last"], h[:, None]], 1)
            below = stream.shrink[scale].row(window)
            out, below = next_row(network, below, row // 2, kept["below"], contexts, scale + 1)
            return {"out": out, "below": below}

        # the rows up to this one complete a row of the coarser grid if its number is even
        new["coarser"] = when(row % 2 == 0, advance, state["coarser"])
        new["last"] = h[:, None]
        return stream.grow[scale].row(new["coarser"]["out"], row % 2, h.shape[1])

    features = contexts[scale]
    if features is not None:
        features = features[:, row if features.shape[1] > 1 else 0]
    v, found = stream.level(scale, v, None, features, conv, unchanged, coarser)
    return v, {**new, "above": network.horizontal.project(scale, found)}


def next_position(
    network, h: Array, row, column, state: dict, rows: dict, features, scale: int = 0
):
    """Pass a position of a grid through the horizontal stream; returns features and a state."""
    stream, index = network.horizontal, row * network.sides[scale][1] + column
    new = {"buffers": []}

    def conv(layer, h):
        y, buffer = layer.step(state["buffers"][len(new["buffers"])], h, index)
        new["buffers"].append(buffer)
        return y

    def coarser(h):
        shrink, place = stream.shrink[scale], (row // 2, column // 2)
        new["shrink"] = shrink.write(state["shrink"], h, index)

        def advance(kept):
            out, below = next_position(
                network,
                shrink.read(new["shrink"], index),
                *place,
                kept["below"],
                rows["coarser"]["below"],
                features,
                scale + 1,
            )
            return {"out": kept["out"].at[place[1]].set(out), "below": below}

        is_due = (row % 2 == 0) & (column % 2 == 0)
        new["coarser"] = when(is_due, advance, state["coarser"])
        out = new["coarser"]["out"][place[1]]
        return stream.grow[scale].position(out, row % 2, column % 2)

    above, here = [v[:, column] for v in rows["above"]], at(features[scale], index)
    h, _ = stream.level(scale, h, above, here, conv, unchanged, coarser)
    return h, new


def when(condition: Array, function: Callable, state):
    """Return the function of a state if a condition holds, else the state.

    A loop of one round or none changes its state in place, where ``lax.cond`` would copy it.
    """
    return lax.fori_loop(0, jnp.asarray(condition, int), lambda _, state: function(state), state)


def unchanged(h: Array) -> Array:
    return h
