"""Maximum likelihood with early stopping, JAX: ``eval_every`` steps are one compiled call."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

__all__ = ["fit", "split"]


def _is_constant(leaf) -> bool:
    """Whether a node is marked as not trained (by the library that flowjax builds on)."""
    return type(leaf).__name__ == "NonTrainable"


def split(model):
    """The trained arrays, and the rest."""
    return eqx.partition(model, _is_trained, is_leaf=_is_constant)


def _is_trained(leaf) -> bool:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.issubdtype(leaf.dtype, jnp.inexact)
    return eqx.is_inexact_array(leaf)


def log_prob(params, rest, x):
    model = eqx.combine(params, rest, is_leaf=_is_constant)
    if callable(model):
        return model().log_prob(x)
    return model.log_prob(x)


OPTIMIZER = optax.scale_by_adam()


@eqx.filter_jit
def _advance(params, state, rest, rng_key, train, valid, learning_rate, batch_size, num_steps):
    def loss(params, rows):
        return -log_prob(params, rest, rows).mean()

    def step(carry, rng_key):
        params, state = carry
        rows = train
        if batch_size < len(train):
            rows = train[jax.random.choice(rng_key, len(train), (batch_size,), replace=False)]
        updates, state = OPTIMIZER.update(jax.grad(loss)(params, rows), state)
        updates = jax.tree.map(lambda u: -learning_rate * u, updates)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(rng_key, num_steps)
    (params, state), _ = lax.scan(step, (params, state), keys)
    return params, state, log_prob(params, rest, valid).mean()


@eqx.filter_jit
def _score(params, rest, rows):
    return log_prob(params, rest, rows)


def fit(build, seed, table, learning_rate, budget):
    """Fit one model; returns its held-out log-densities, the best validation value and its step."""
    params, rest = split(build(seed))
    train, valid, test = (jnp.asarray(a) for a in (table.train, table.valid, table.test))
    batch_size = min(budget.batch_size, len(train))
    learning_rate, rng_key = jnp.asarray(learning_rate), jax.random.key(seed)
    state, stopping, best = OPTIMIZER.init(params), budget.stopping(), params
    for step in range(budget.eval_every, budget.num_steps + 1, budget.eval_every):
        key = jax.random.fold_in(rng_key, step)
        params, state, value = _advance(
            params, state, rest, key, train, valid, learning_rate, batch_size, budget.eval_every
        )
        value = float(value)
        if not math.isfinite(value):
            break
        if stopping.improved(step, value):
            best = params
        if stopping.exhausted:
            break
    test_log_prob = np.asarray(_score(best, rest, test), dtype=float)
    return test_log_prob, stopping.best, stopping.best_step, step
