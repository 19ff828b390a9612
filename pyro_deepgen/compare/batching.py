"""The model on many draws at once: in a plate of its own where it can, else one after the other.

Pyro's vectorised particles put the model in an outermost plate, which is right only if the model
broadcasts over it. That is tested here against the model run draw by draw.
"""

from collections.abc import Callable, Mapping

import pyro
import torch
from pyro import poutine
from pyro.infer.mcmc.util import _guess_max_plate_nesting

__all__ = ["can_batch", "draws_plate", "log_joint", "nesting"]

NUM_TESTED = 4
TOLERANCE = 1e-3


def nesting(model: Callable, args: tuple, kwargs: dict) -> int:
    """Depth of the model's plates."""
    return _guess_max_plate_nesting(model, args, kwargs)


def draws_plate(size: int, max_plate_nesting: int):
    """The plate that holds draws, left of all of the model's own."""
    return pyro.plate("_draws", size, dim=-1 - max_plate_nesting)


@torch.no_grad()
def can_batch(context) -> bool:
    """Whether the model gives the same log joint in a plate of draws as draw by draw."""
    traces = [
        poutine.trace(context.model).get_trace(*context.args, **context.kwargs)
        for _ in range(NUM_TESTED)
    ]
    values = {
        name: torch.stack([trace.nodes[name]["value"] for trace in traces])
        for name in context.summary.latent_shapes
    }
    try:
        batch, _ = _batched(context, values)
    except Exception:
        return False
    single, _ = _sequential(context, values)
    return bool(torch.allclose(batch, single, rtol=TOLERANCE, atol=TOLERANCE))


@torch.no_grad()
def log_joint(context, values: Mapping) -> tuple[torch.Tensor, dict]:
    """Log joint density and deterministic sites at given draws of the latent sites.

    Args:
        context: model and data.
        values: latent site -> tensor ``(draw,) + shape``.

    Returns:
        Log density of shape ``(draw,)``, and deterministic site -> tensor ``(draw,) + shape``.
    """
    return (_batched if context.batched else _sequential)(context, values)


def _run(context, values: Mapping):
    model = poutine.trace(poutine.condition(context.model, data=values))
    trace = model.get_trace(*context.args, **context.kwargs)
    trace.compute_log_prob()
    nodes = [(name, node) for name, node in trace.nodes.items() if node["type"] == "sample"]
    found = {n: node["value"] for n, node in nodes if node["infer"].get("_deterministic")}
    return [node["log_prob"] for _, node in nodes], found


def _sequential(context, values: Mapping):
    totals, found = [], {}
    size = next(iter(values.values())).shape[0]
    for i in range(size):
        terms, sites = _run(context, {name: value[i] for name, value in values.items()})
        totals.append(sum(term.sum() for term in terms))
        for name, value in sites.items():
            found.setdefault(name, []).append(value)
    return torch.stack(totals), {name: torch.stack(list(v)) for name, v in found.items()}


def _batched(context, values: Mapping):
    size = next(iter(values.values())).shape[0]
    one = {name: value[0] for name, value in values.items()}
    shapes = _event_dims(context, one)
    depth = context.max_plate_nesting
    spread = {}
    for name, value in values.items():
        batch_dim = value.dim() - 1 - shapes[name][0]
        spread[name] = value.reshape(size, *(1,) * (depth - batch_dim), *value.shape[1:])
    with draws_plate(size, depth):
        terms, sites = _run(context, spread)
    total = 0.0
    for term in terms:
        if term.shape[:1] != (size,) or term.dim() != depth + 1:
            raise ValueError(f"a site of shape {tuple(term.shape)} does not follow the draws")
        total = total + term.reshape(size, -1).sum(-1)
    kept = {}
    for name, value in sites.items():
        kept[name] = _squeeze(value, size, shapes[name][1])
    return total, kept


def _squeeze(value: torch.Tensor, size: int, shape: tuple) -> torch.Tensor:
    """A site's value in the plate of draws as ``(draw,) + shape``."""
    missing = 1 + len(shape) - value.dim()
    if value.shape[:1] != (size,) or missing > 0:
        value = value.expand(size, *value.shape)
    middle = value.dim() - 1 - len(shape)
    value = value.reshape(size, *value.shape[1 + middle :])
    return value.expand(size, *shape)


def _event_dims(context, one: Mapping) -> dict:
    """Site -> (event dimensions, shape) from one run on a single draw."""
    model = poutine.trace(poutine.condition(context.model, data=one))
    trace = model.get_trace(*context.args, **context.kwargs)
    return {
        name: (node["fn"].event_dim, tuple(node["value"].shape))
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and hasattr(node["fn"], "event_dim")
    }
