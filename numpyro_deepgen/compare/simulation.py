"""Data drawn from the model: from its prior, and from posterior draws."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import random
from numpyro import handlers
from numpyro.distributions import Unit
from numpyro.infer import Predictive
from numpyro.primitives import Messenger

from .context import Context
from .data import check_generative

__all__ = ["observed_values", "replicated", "simulated", "with_data"]


class _WithData(Messenger):
    """Observed sites take other values."""

    def __init__(self, fn, data: dict):
        super().__init__(fn)
        self._data = data

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["is_observed"] and msg["name"] in self._data:
            msg["value"] = self._data[msg["name"]]


def _observed(trace) -> dict:
    return {
        n: node for n, node in trace.items() if node["type"] == "sample" and node["is_observed"]
    }


def observed_values(context: Context) -> dict[str, np.ndarray]:
    """Values of the observed sites, without factors."""
    model = handlers.seed(context.model, context.seed)
    trace = handlers.trace(model).get_trace(*context.args, **context.kwargs)
    nodes = _observed(trace).items()
    return {n: np.asarray(node["value"]) for n, node in nodes if not _is_factor(node)}


def _is_factor(node) -> bool:
    fn = node["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, Unit)


def simulated(context: Context, index: int) -> tuple[dict[str, np.ndarray], dict]:
    """Values of the latent sites from the prior, and of the observed sites given them.

    Args:
        context: model and data.
        index: of the simulation.

    Raises:
        ModelError: if the model has nothing to simulate, or a factor that no draw follows.
    """
    rng_key = context.rng_key(f"simulation {index}")
    plain = handlers.trace(handlers.seed(context.model, rng_key))
    nodes = _observed(plain.get_trace(*context.args, **context.kwargs))
    check_generative([n for n in nodes if _is_factor(nodes[n])], list(nodes))
    free = handlers.seed(handlers.uncondition(context.model), rng_key)
    trace = handlers.trace(free).get_trace(*context.args, **context.kwargs)
    latent = {name: np.asarray(trace[name]["value"]) for name in context.summary.latent_shapes}
    return latent, {name: trace[name]["value"] for name in nodes}


def with_data(context: Context, data: dict, index: int) -> Context:
    """The context with other values of the observed sites, and nothing trained yet."""
    model = _WithData(context.model, data)
    return replace(context, model=model, cache={}, seed=context.seed + 1000 * (index + 1))


def replicated(context: Context, draws: dict, names: list[str]) -> dict[str, np.ndarray]:
    """Draws of the observed sites given draws of the latent ones.

    Args:
        context: model and data.
        draws: latent site -> array ``(draw,) + shape``.
        names: the observed sites.

    Returns:
        Site -> array ``(draw,) + shape``.
    """
    values = {name: jnp.asarray(value) for name, value in draws.items()}
    free = handlers.uncondition(context.model)
    predictive = Predictive(free, values, return_sites=names, batch_ndims=1)
    key = random.fold_in(context.rng_key("replicated data"), 0)
    found = predictive(key, *context.args, **context.kwargs)
    return {name: np.asarray(found[name]) for name in names}
