"""Data drawn from the model: from its prior, and from posterior draws."""

from dataclasses import replace

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.infer import Predictive
from pyro.poutine.messenger import Messenger

from .context import Context
from .data import check_generative

__all__ = ["observed_values", "replicated", "simulated", "with_data"]


class _WithData(Messenger):
    """Observed sites take other values."""

    def __init__(self, data: dict):
        super().__init__()
        self._data = data

    def _pyro_sample(self, msg):
        if msg["is_observed"] and msg["name"] in self._data:
            msg["value"] = self._data[msg["name"]]


class _Free(Messenger):
    """Observed sites are drawn; what is a function of others, and factors, stay as they are.

    The host's ``uncondition`` draws those too, and in a plate it expands them once more.
    """

    def _pyro_sample(self, msg):
        fixed = msg["infer"].get("_deterministic", False) or _is_factor(msg)
        if msg["is_observed"] and not fixed:
            msg["is_observed"], msg["value"] = False, None


def _observed(trace) -> dict:
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and node["is_observed"]
        and not node["infer"].get("_deterministic", False)
    }


def observed_values(context: Context) -> dict[str, np.ndarray]:
    """Values of the observed sites, without factors."""
    with torch.random.fork_rng(devices=[]):
        trace = poutine.trace(context.model).get_trace(*context.args, **context.kwargs)
    nodes = _observed(trace).items()
    return {n: node["value"].detach().numpy() for n, node in nodes if not _is_factor(node)}


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
    context.set_seed(f"simulation {index}")
    with torch.no_grad(), pyro.validation_enabled(False):
        plain = poutine.trace(context.model).get_trace(*context.args, **context.kwargs)
        nodes = _observed(plain)
        check_generative([n for n in nodes if _is_factor(nodes[n])], list(nodes))
        free = _Free()(context.model)
        trace = poutine.trace(free).get_trace(*context.args, **context.kwargs)
    latent = {n: trace.nodes[n]["value"].numpy() for n in context.summary.latent_shapes}
    return latent, {name: trace.nodes[name]["value"].detach() for name in nodes}


def with_data(context: Context, data: dict, index: int) -> Context:
    """The context with other values of the observed sites, and nothing trained yet."""
    model = _WithData(data)(context.model)
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
    context.set_seed("replicated data")
    values = {name: torch.as_tensor(np.array(draws[name])) for name in draws}
    predictive = Predictive(_Free()(context.model), values, return_sites=names)
    with torch.no_grad(), pyro.validation_enabled(False):
        found = predictive(*context.args, **context.kwargs)
    return {name: found[name].numpy() for name in names}
