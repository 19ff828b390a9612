r"""Densities and samples of autoregressive networks, as functions to be compiled.

``d`` is a :class:`~numpyro_deepgen.distributions.AutoregressiveDistribution`, ``module`` what it
was called from.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import logsumexp

from ._elements import warn_of_no_step

__all__ = ["apply", "draw", "log_prob_of", "params_of", "rows_of", "scored", "steps_of"]


def log_prob_of(d, value: Array) -> Array:
    leading = value.shape[: value.ndim - len(d.event_shape)]
    shape = jnp.broadcast_shapes(leading, d.batch_shape)
    if 0 in shape:
        return jnp.zeros(shape, d.module.dtype)
    elements = d.static.elements.split(value)
    if d.static.elements.bounds is not None:
        # the host takes whole numbers of classes as integers alone
        elements = elements.astype(int)
    terms = [_log_prob_in_order(d, elements, index) for index in d.indices]
    log_prob = terms[0]
    if len(terms) > 1:
        log_prob = logsumexp(jnp.stack(terms), axis=0) - math.log(len(terms))
    return jnp.broadcast_to(log_prob, shape)


def _log_prob_in_order(d, elements: Array, index: int) -> Array:
    return d.module.conditional(params_of(d, elements, index)).log_prob(elements).sum(-1)


def params_of(d, elements: Array, index: int) -> Array:
    """Return the parameters of all positions, ``(..., positions, num_params)``."""
    module, network = d.module, d.module.network
    x = module.elements.encode(elements, module.dtype)
    if d.keep is not None:
        x = x * jnp.asarray(d.keep, x.dtype)[..., None]
    order = _turn(module, index)
    if order is not None:
        x = x[..., order, :]
    x = x.reshape(x.shape[:-2] + network.grid_shape + x.shape[-1:])
    known = _arguments(module, index)
    if d.rng_key is not None:
        known["rng_key"] = d.rng_key
    params = network(x, _turned_context(module, d.context, order), **known)
    leading = params.shape[: -1 - len(network.grid_shape)]
    params = params.reshape(leading + (math.prod(network.grid_shape), params.shape[-1]))
    return params if order is None else params[..., np.argsort(order), :]


def rows_of(array: Array | None, shape: tuple[int, ...], event_dim: int) -> Array | None:
    """Return an array of leading shape ``shape``, its leading dimensions made one."""
    if array is None:
        return None
    event_shape = array.shape[array.ndim - event_dim :]
    return jnp.broadcast_to(array, shape + event_shape).reshape((math.prod(shape), *event_shape))


def _turn(module, index: int) -> np.ndarray | None:
    """Return the order in which the network is to see the positions, None for as they are."""
    if module.knows_orders:
        return None
    order = module.orders[index]
    return None if list(order) == sorted(order) else np.asarray(order)


def _turned_context(module, context: Array | None, order) -> Array | None:
    is_image = getattr(module.network, "context_kind", "vector") == "image"
    if order is None or context is None or not is_image:
        return context
    flat = context.reshape(context.shape[: -len(module.network.grid_shape)] + (-1,))
    return flat[..., order].reshape(context.shape)


def _arguments(module, index) -> dict:
    return {"order_index": index} if module.knows_orders else {}


def draw(d, rng_key: Array, sample_shape, mask, values):
    """Return samples, their log-density under the orders drawn, and that of what was given."""
    module, elements = d.module, d.static.elements
    shape = tuple(sample_shape) + d.batch_shape
    num_rows = math.prod(shape)
    if not num_rows:
        return _no_draws(d, rng_key, shape)
    context = rows_of(d.context, shape, len(module.network.context_shape))
    keep = rows_of(d.keep, shape, 1)
    if values is not None:
        values = elements.split(jnp.broadcast_to(values, shape + d.event_shape))
        values = values.reshape((num_rows, *values.shape[values.ndim - elements.ndim :]))
    if len(d.indices) == 1:
        drawn = _draw_rows(module, rng_key, num_rows, d.indices[0], (context, keep, values), mask)
    else:
        # each row in an order of its own
        order_key, rng_key = jax.random.split(rng_key)
        index = jax.random.choice(order_key, jnp.asarray(d.indices), (num_rows,))
        rows = jax.tree.map(lambda a: a[:, None], (context, keep, values))
        draw_each = jax.vmap(lambda k, i, row: _draw_rows(module, k, 1, i, row, mask))
        drawn = draw_each(jax.random.split(rng_key, num_rows), index, rows)
        drawn = tuple(a[:, 0] for a in drawn)
    value, log_prob, log_weight = drawn
    value = elements.join(value).reshape(shape + d.event_shape)
    return value, log_prob.reshape(shape), log_weight.reshape(shape)


def _no_draws(d, rng_key: Array, shape: tuple[int, ...]):
    """Return what :func:`draw` does for a shape without entries."""
    conditional = d.static.conditional
    like = conditional(jnp.zeros(conditional.num_params, d.module.dtype)).sample(rng_key)
    log_prob = jnp.zeros(shape, d.module.dtype)
    return jnp.zeros(shape + d.event_shape, like.dtype), log_prob, log_prob


def _draw_rows(module, rng_key, num_rows: int, index, rows: tuple, mask):
    context, keep, values = rows
    order = jnp.asarray(module.orders)[index]
    start, params_next, give = steps_of(module, num_rows, context, index, keep)
    known = jnp.zeros(len(order), bool) if mask is None else jnp.asarray(mask)
    if values is not None:
        values = jnp.moveaxis(values, 1, 0)

    def visit(state, inputs):
        key, rank = inputs
        params, state = params_next(state, rank)
        d, place = module.conditional(params), order[rank]
        value = d.sample(key)
        if values is not None:
            value = jnp.where(known[place], values[place].astype(value.dtype), value)
        term = d.log_prob(value)
        return give(state, value, rank), (value, term, jnp.where(known[place], term, 0.0))

    inputs = jax.random.split(rng_key, len(order)), jnp.arange(len(order))
    _, (value, terms, given) = lax.scan(visit, start, inputs)
    return jnp.moveaxis(value[jnp.argsort(order)], 0, 1), terms.sum(0), given.sum(0)


def steps_of(module, num_rows: int, context: Array | None, index, keep: Array | None = None):
    """Return how to go from position to position, by steps of a network or by full passes.

    Args:
        module: the network and what belongs to it.
        num_rows: rows of positions.
        context: one context a row, or None.
        index: place of the order.
        keep: which positions of a row the later ones are given, ``(num_rows, positions)``, or None.

    Returns:
        The first state; a function of a state and a rank that returns the parameters of that
        position, ``(num_rows, num_params)``, and a state; and one of a state, the elements of the
        position and its rank that returns the next state.
    """
    network, known = module.network, _arguments(module, index)
    order = jnp.asarray(module.orders)[index]
    context = _turned_context(module, context, None if module.knows_orders else order)
    # where the network is given the elements, in turn
    places = order if module.knows_orders else jnp.arange(len(order))
    previous = jnp.zeros((num_rows, network.in_channels), module.dtype)

    def by_full_pass(x, previous, rank, **known):
        # at the first step the inputs are zeros, as is what they replace
        x = x.at[:, places[jnp.maximum(rank - 1, 0)]].set(previous)
        params = network(x.reshape(num_rows, *network.grid_shape, -1), context, **known)
        return params.reshape(num_rows, -1, network.num_params)[:, places[rank]], x

    if hasattr(network, "step"):
        start, step = network.init_cache(num_rows, context, **known), network.step
    else:
        warn_of_no_step(network)
        size = math.prod(network.grid_shape)
        start, step = jnp.zeros((num_rows, size, network.in_channels), module.dtype), by_full_pass

    def params_next(state, rank):
        params, cache = step(*state, rank, **known)
        return params, (cache, state[1])

    def give(state, value, rank):
        x = module.elements.encode(value, module.dtype)
        if keep is not None:
            x = x * keep[:, order[rank]].astype(x.dtype)[:, None]
        return state[0], x

    return (start, previous), params_next, give


@jax.custom_jvp
def scored(d, value: Array, log_prob: Array) -> Array:
    """Return the known log-density of a value; its derivatives are those of one parallel pass."""
    return log_prob


@scored.defjvp
def _scored_jvp(primals, tangents):
    d, value, log_prob = primals
    _, tangent = jax.jvp(lambda d: log_prob_of(d, value), (d,), (tangents[0],))
    return log_prob, tangent


_compiled = {log_prob_of: jax.jit(log_prob_of), draw: jax.jit(draw, static_argnums=(2, 3))}


def apply(function: Callable, *operands):
    """Call as one compiled program where the caller does not trace already."""
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(operands))
    return (function if traced else _compiled[function])(*operands)
