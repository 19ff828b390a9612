"""The inverse of a masked network, each hidden unit computed once.

Activations are kept feature-major, ``(units, N)``, and inputs in the order in which they are
visited. A step computes a slice of fixed width of each hidden layer: the units of its degree and,
where another degree has more units, zeros which the next step overwrites. One ``lax.scan`` thus
serves any number of inputs at one compile time.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .._numerics.masks import hidden_degrees, input_ranks
from .activations import activation_function

__all__ = ["solve_incrementally"]


def solve_incrementally(
    net, solve_input: Callable, y: Array, offset: Array | None
) -> tuple[Array, Array]:
    """Solve for all inputs in turn.

    Args:
        net: a :class:`MaskedDense`.
        solve_input: see :meth:`MaskedDense.solve`.
        y: shape ``(N, D)``.
        offset: the context's part of the first layer, ``(units, N)``, or None.

    Returns:
        Solutions and log-derivatives, both ``(N, D)``.
    """
    weights = [layer.masked_weight() for layer in net.layers]
    weights[0] = weights[0][:, np.asarray(net.order)]
    dtype = jnp.result_type(y, *weights, *([] if offset is None else [offset]))
    size, widths = y.shape[0], []
    starts, rows = [], []
    for level, degrees in enumerate(_degrees(net)):
        start, index = _slices(degrees, net.input_dim)
        bias = _add_offset(net.layers[level].bias, offset if level == 0 else None)
        starts.append(start)
        rows.append((_take_padded(weights[level], index), _take_padded(bias, index)))
        widths.append(index.shape[1])
    outputs = _arrange_outputs(net, weights[-1], None if net.hidden_dims else offset)
    activation = activation_function(net.activation)

    def visit(state, step):
        inputs, hidden = state
        rank, value, starts, rows, (weight, bias) = step
        below, updated = inputs, []
        for units, start, (row_weight, row_bias) in zip(hidden, starts, rows, strict=True):
            new = activation(row_weight @ below + row_bias).astype(dtype)
            units = lax.dynamic_update_slice_in_dim(units, new, start, 0)
            below = units[: units.shape[0] - new.shape[0]]
            updated.append(units)
        params = (weight @ below + bias).T[..., None]
        solution, log_det = (a.astype(dtype) for a in solve_input(value[:, None], params))
        inputs = lax.dynamic_update_slice_in_dim(inputs, solution.T, rank, 0)
        return (inputs, tuple(updated)), (solution[:, 0], log_det[:, 0])

    # room for a whole slice behind the last unit
    hidden = tuple(
        jnp.zeros((width + extra, size), dtype)
        for width, extra in zip(net.hidden_dims, widths, strict=True)
    )
    ordered = y.T[np.asarray(net.order)]
    steps = (np.arange(net.input_dim), ordered, tuple(starts), tuple(rows), outputs)
    _, (x, log_det) = lax.scan(visit, (jnp.zeros((net.input_dim, size), dtype), hidden), steps)
    ranks = input_ranks(net.order)
    return x[ranks].T, log_det[ranks].T


def _degrees(net) -> list[np.ndarray]:
    return [hidden_degrees(net.input_dim, w, net.context_dim > 0) for w in net.hidden_dims]


def _slices(degrees: np.ndarray, input_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first unit of every degree, ``(D,)``, and the units, ``(D, width)``, padded."""
    ranks = np.arange(input_dim)
    start = np.searchsorted(degrees, ranks, side="left")
    count = np.searchsorted(degrees, ranks, side="right") - start
    places = np.arange(count.max())
    index = np.where(places < count[:, None], start[:, None] + places, len(degrees))
    return start, index


def _take_padded(array: Array, index: np.ndarray) -> Array:
    """Return ``array[index]``, rows behind the last being zero."""
    return jnp.concatenate([array, jnp.zeros_like(array[:1])])[index]


def _add_offset(bias: Array, offset: Array | None) -> Array:
    return bias[:, None] if offset is None else bias[:, None] + offset


def _arrange_outputs(net, weight: Array, offset: Array | None) -> tuple[Array, Array]:
    """Return the output layer by rank: weights ``(D, P, units)`` and biases ``(D, P, 1 or N)``."""
    order, shape = np.asarray(net.order), (net.num_params, net.input_dim, -1)
    bias = _add_offset(net.layers[-1].bias, offset)
    by_rank = (jnp.swapaxes(a.reshape(shape), 0, 1)[order] for a in (weight, bias))
    return tuple(by_rank)
