"""A guide's draws and their importance weights, many at once by ``jax.vmap``."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax, random
from numpyro import handlers
from numpyro.infer.util import get_importance_trace

__all__ = ["guide_draws"]

BATCH_SIZE = 250


def guide_draws(context, guide, params: dict) -> Callable:
    """A function that draws from a guide and weighs the draws.

    Args:
        context: model and data.
        guide: a guide of the host.
        params: its parameters.

    Returns:
        ``keys -> (values, log_weights)`` for keys of shape ``(draw,)``: latent or deterministic
        site -> array ``(draw,) + shape``, and ``log p(x, z) - log q(z)`` of shape ``(draw,)``.
    """

    def one(rng_key):
        guide_key, model_key = random.split(rng_key)
        model_trace, guide_trace = get_importance_trace(
            handlers.seed(context.model, model_key),
            handlers.seed(guide, guide_key),
            context.args,
            context.kwargs,
            params,
        )
        values = {
            site: node["value"]
            for site, node in model_trace.items()
            if node["type"] == "deterministic" or site in context.summary.latent_shapes
        }
        return values, _log_prob(model_trace) - _log_prob(guide_trace)

    return lambda keys: lax.map(one, keys, batch_size=BATCH_SIZE)


def _log_prob(trace) -> jax.Array:
    return sum(jnp.sum(node["log_prob"]) for node in trace.values() if node["type"] == "sample")
