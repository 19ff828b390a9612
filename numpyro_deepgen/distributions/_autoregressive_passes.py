r"""Densities and samples of autoregressive networks, as functions to be compiled.

``d`` is a :class:`~numpyro_deepgen.distributions.AutoregressiveDistribution`, ``module`` what it
was called from.
"""

import math
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import logsumexp

from ._elements import no_step_message

__all__ = ["apply", "draw", "log_prob_of", "scored"]


def log_prob_of(d, value: Array) -> Array:
    elements = d.static.elements.split(value)
    if d.static.elements.bounds is not None:
        # the host takes whole numbers of classes as integers alone
        elements = elements.astype(int)
    terms = [_log_prob_in_order(d, elements, index) for index in d.indices]
    log_prob = terms[0]
    if len(terms) > 1:
        log_prob = logsumexp(jnp.stack(terms), axis=0) - math.log(len(terms))
    leading = value.shape[: value.ndim - len(d.event_shape)]
    return jnp.broadcast_to(log_prob, jnp.broadcast_shapes(leading, d.batch_shape))


def _log_prob_in_order(d, elements: Array, index: int) -> Array:
    module, network = d.module, d.module.network
    x = module.elements.encode(elements, module.dtype)
    order = _turn(module, index)
    if order is not None:
        x = x[..., order, :]
    x = x.reshape(x.shape[:-2] + network.grid_shape + x.shape[-1:])
    params = network(x, _turned_context(module, d.context, order), **_arguments(module, index))
    leading = params.shape[: -1 - len(network.grid_shape)]
    params = params.reshape(leading + (-1, params.shape[-1]))
    if order is not None:
        params = params[..., np.argsort(order), :]
    return module.conditional(params).log_prob(elements).sum(-1)


def _turn(module, index: int) -> np.ndarray | None:
    """Return the order in which the network is to see the positions, None for as they are."""
    order = module.orders[index]
    return None if module.knows_orders or list(order) == sorted(order) else np.asarray(order)


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
    context = d.context
    if context is not None:
        event = module.network.context_shape
        context = jnp.broadcast_to(context, shape + event).reshape((-1, *event))
    if values is not None:
        values = elements.split(jnp.broadcast_to(values, shape + d.event_shape))
        values = values.reshape((num_rows, *values.shape[values.ndim - elements.ndim :]))
    if len(d.indices) == 1:
        drawn = _draw_rows(module, rng_key, num_rows, d.indices[0], context, mask, values)
    else:
        # each row in an order of its own
        order_key, rng_key = jax.random.split(rng_key)
        index = jax.random.choice(order_key, jnp.asarray(d.indices), (num_rows,))
        draw_each = jax.vmap(
            lambda k, i, c, v: _draw_rows(
                module,
                k,
                1,
                i,
                *(None if a is None else a[None] for a in (c,)),
                mask,
                None if v is None else v[None],
            )
        )
        drawn = draw_each(jax.random.split(rng_key, num_rows), index, context, values)
        drawn = tuple(a[:, 0] for a in drawn)
    value, log_prob, log_weight = drawn
    value = elements.join(value).reshape(shape + d.event_shape)
    return value, log_prob.reshape(shape), log_weight.reshape(shape)


def _draw_rows(module, rng_key, num_rows: int, index, context, mask, values):
    network, elements = module.network, module.elements
    order = jnp.asarray(module.orders)[index]
    turn = None if module.knows_orders else order
    context = _turned_context(module, context, turn)
    start, steps = _steps(network, num_rows, context, _arguments(module, index), module.dtype)
    known = jnp.zeros(len(order), bool) if mask is None else jnp.asarray(mask)
    if values is not None:
        values = jnp.moveaxis(values, 1, 0)

    def visit(carry, inputs):
        cache, previous = carry
        key, rank = inputs
        params, cache = steps(cache, previous, rank)
        d, place = module.conditional(params), order[rank]
        value = d.sample(key)
        if values is not None:
            value = jnp.where(known[place], values[place].astype(value.dtype), value)
        term = d.log_prob(value)
        previous = elements.encode(value, module.dtype)
        return (cache, previous), (value, term, jnp.where(known[place], term, 0.0))

    previous = jnp.zeros((num_rows, network.in_channels), module.dtype)
    inputs = jax.random.split(rng_key, len(order)), jnp.arange(len(order))
    _, (value, terms, given) = lax.scan(visit, (start, previous), inputs)
    return jnp.moveaxis(value[jnp.argsort(order)], 0, 1), terms.sum(0), given.sum(0)


def _steps(network, num_rows: int, context: Array | None, known: dict, dtype):
    """Return the first cache and a function that gives the parameters of one position."""
    if hasattr(network, "step"):
        start = network.init_cache(num_rows, context, **known)
        return start, lambda cache, previous, rank: network.step(cache, previous, rank, **known)
    warnings.warn(no_step_message(network), stacklevel=7)
    shape = (num_rows, math.prod(network.grid_shape), network.in_channels)

    def by_full_pass(x, previous, rank):
        # at the first step the inputs are zeros, as is what they replace
        x = x.at[:, jnp.maximum(rank - 1, 0)].set(previous)
        params = network(x.reshape(num_rows, *network.grid_shape, -1), context)
        return params.reshape(num_rows, -1, network.num_params)[:, rank], x

    return jnp.zeros(shape, dtype), by_full_pass


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
