"""The inverse of a masked network, each hidden unit computed once.

Activations are kept feature-major, ``(units, N)``. A step computes a slice of fixed width of each
hidden layer: the units of its degree and, where another degree has more units, some of later
degrees, which nothing reads before they are computed again. One ``lax.scan`` thus serves any number
of inputs at one compile time, and all it does to its state is to overwrite rows in place.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .._numerics.masks import hidden_degrees
from .activations import activation_function

__all__ = ["solve_incrementally"]


def solve_incrementally(
    net, solve_input: Callable, y: Array, offset: Array | None
) -> tuple[Array, Array]:
    """Solve for all inputs in turn.

    Args:
        net: a :class:`MaskedDense`.
        solve_input: see :meth:`MaskedDense.solve`.
        y: shape ``(D, N)``.
        offset: the context's part of the first layer, ``(units, N)``, or None.

    Returns:
        Solutions and log-derivatives, both ``(D, N)``.
    """
    starts, widths = _slices(net)
    weights = _arrange_weights(net, widths)
    dtype = jnp.result_type(y, *weights, *([] if offset is None else [offset]))
    activation = activation_function(net.activation)
    size, depth = y.shape[1], len(widths)
    if offset is not None:
        num_rows = weights[1].shape[-1] if depth else offset.shape[0]
        offset = jnp.pad(offset, ((0, num_rows - offset.shape[0]), (0, 0)))
        offset = offset if depth else offset.reshape(net.num_params, net.input_dim, size)

    def visit(state, step):
        inputs, log_det, hidden = state
        index, starts = step
        below, updated = inputs, []
        for level in range(depth):
            weight = lax.dynamic_slice_in_dim(weights[level], starts[level], widths[level])
            new = weight @ below
            if level == 0 and offset is not None:
                new = new + lax.dynamic_slice_in_dim(offset, starts[0], widths[0])
            new = activation(new).astype(dtype)
            below = lax.dynamic_update_slice_in_dim(hidden[level], new, starts[level], 0)
            updated.append(below)
        params = lax.dynamic_index_in_dim(weights[-1], index, 1, keepdims=False) @ below
        if depth == 0 and offset is not None:
            params = params + lax.dynamic_index_in_dim(offset, index, 1, keepdims=False)
        value = lax.dynamic_index_in_dim(y, index, 0, keepdims=False)
        inputs, log_det = (
            lax.dynamic_update_index_in_dim(rows, row.astype(dtype), index, 0)
            for rows, row in zip((inputs, log_det), solve_input(value, params), strict=True)
        )
        return (inputs, log_det, tuple(updated)), None

    def start(num_rows):
        return jnp.zeros((num_rows, size), dtype).at[-1].set(1.0)

    state = (start(net.input_dim + 1), jnp.zeros_like(y, dtype))
    state = (*state, tuple(start(weight.shape[-1]) for weight in weights[1:]))
    (x, log_det, _), _ = lax.scan(visit, state, (np.asarray(net.order), tuple(starts)))
    return x[:-1], log_det


def _arrange_weights(net, widths: list[int]) -> list[Array]:
    """Return the weights with the bias as the last column, for activations that end in a one.

    Behind the last unit of each hidden layer is room for a whole slice. The output layer is
    ``(P, D, units)``.
    """
    weights, room = [], 0
    for layer, width in zip(net.layers, [*widths, 0], strict=True):
        weight = jnp.pad(layer.masked_weight(), ((0, 0), (0, room)))
        weight = jnp.concatenate([weight, layer.bias[:, None]], -1)
        weights.append(jnp.pad(weight, ((0, width), (0, 0))))
        room = width
    weights[-1] = weights[-1].reshape(net.num_params, net.input_dim, -1)
    return weights


def _slices(net) -> tuple[list[np.ndarray], list[int]]:
    """Return of each hidden layer the first unit of every degree, and the width of a slice."""
    starts, widths, ranks = [], [], np.arange(net.input_dim)
    for width in net.hidden_dims:
        degrees = hidden_degrees(net.input_dim, width, net.context_dim > 0)
        start, end = (np.searchsorted(degrees, ranks, side=side) for side in ("left", "right"))
        starts.append(start)
        widths.append(int((end - start).max()))
    return starts, widths
