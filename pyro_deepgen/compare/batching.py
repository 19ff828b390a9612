"""The model on many draws at once, where that is right, else one draw after the other.

Two ways are tried and tested against the model run draw by draw: an outermost plate, as the host
vectorises particles, which is right only if the model broadcasts over it, and ``torch.vmap``.
"""

from collections.abc import Callable, Mapping

import pyro
import torch
from pyro import poutine
from pyro.infer.mcmc.util import _guess_max_plate_nesting
from pyro.poutine.subsample_messenger import _Subsample
from pyro.poutine.util import prune_subsample_sites

from ..infer._vectorize import plate_nesting_if_vectorizable

__all__ = ["broadcasts", "find_batching", "guide_draws", "log_joint", "nesting"]

NUM_TESTED = 4
TOLERANCE = 1e-3


def nesting(model: Callable, args: tuple, kwargs: dict) -> int:
    """Depth of the model's plates."""
    return _guess_max_plate_nesting(model, args, kwargs)


def _draws_plate(size: int, max_plate_nesting: int):
    """The plate that holds draws, left of all of the model's own."""
    return pyro.plate("_draws", size, dim=-1 - max_plate_nesting)


@torch.no_grad()
def find_batching(context) -> str:
    """The way to run the model on many draws that gives the right log joint.

    Args:
        context: model and data.

    Returns:
        ``"plate"``, ``"vmap"`` or ``"loop"``.
    """
    traces = [
        poutine.trace(context.model).get_trace(*context.args, **context.kwargs)
        for _ in range(NUM_TESTED)
    ]
    values = {
        name: torch.stack([trace.nodes[name]["value"] for trace in traces])
        for name in context.summary.latent_shapes
    }
    with pyro.validation_enabled(False):
        single, _ = _loop(context, values)
        for way in ("plate", "vmap"):
            try:
                batch, _ = WAYS[way](context, values)
            except Exception:
                continue
            if torch.allclose(batch, single, rtol=TOLERANCE, atol=TOLERANCE):
                return way
    return "loop"


def broadcasts(context, guide: Callable) -> bool:
    """Whether a guide may run in a plate of draws, as the host's own guides and flows do."""

    def nothing(*args, **kwargs):
        """A model without sites: only the guide's draws are scored."""

    args, kwargs = context.args, context.kwargs
    found = plate_nesting_if_vectorizable(nothing, guide, args, kwargs)
    return found is not None and found <= context.max_plate_nesting


def guide_draws(
    context, guide: Callable, size: int, together: bool = True
) -> tuple[dict, torch.Tensor]:
    """Draws of a guide of the host, and its log density of them.

    Args:
        context: model and data.
        guide: a guide of the host.
        size: number of draws.
        together: whether the guide broadcasts over a plate, as the host's own do.

    Returns:
        Latent site -> tensor ``(size,) + shape``, and log densities of shape ``(size,)``.
    """
    if not together:
        parts = [_guide_draws(context, guide, 1) for _ in range(size)]
        names = parts[0][0]
        values = {name: torch.cat([part[0][name] for part in parts]) for name in names}
        return values, torch.cat([part[1] for part in parts])
    with _draws_plate(size, context.max_plate_nesting):
        return _guide_draws(context, guide, size)


def _guide_draws(context, guide: Callable, size: int) -> tuple[dict, torch.Tensor]:
    """Draws of one run of the guide, and their log densities."""
    trace = poutine.trace(guide).get_trace(*context.args, **context.kwargs)
    trace.compute_log_prob()
    nodes = prune_subsample_sites(trace).nodes.values()
    terms = [node["log_prob"] for node in nodes if node["type"] == "sample"]
    terms = [term for term in terms if size == 1 or term.shape[:1] == (size,)]
    log_q = sum(term.reshape(size, -1).sum(-1) for term in terms)
    shapes = context.summary.latent_shapes
    values = {
        name: trace.nodes[name]["value"].reshape(size, *shape) for name, shape in shapes.items()
    }
    return values, log_q


def log_joint(context, values: Mapping) -> tuple[torch.Tensor, dict]:
    """Log joint density and deterministic sites at given draws of the latent sites.

    Args:
        context: model and data.
        values: latent site -> tensor ``(draw,) + shape``.

    Returns:
        Log density of shape ``(draw,)``, and deterministic site -> tensor ``(draw,) + shape``.
    """
    with pyro.validation_enabled(False):
        return WAYS[context.batching](context, values)


def _run(context, values: Mapping):
    model = poutine.trace(poutine.condition(context.model, data=values))
    trace = model.get_trace(*context.args, **context.kwargs)
    trace.compute_log_prob()
    nodes = [
        (name, node)
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not isinstance(node["fn"], _Subsample)
    ]
    found = {n: node["value"] for n, node in nodes if node["infer"].get("_deterministic")}
    return [node["log_prob"] for _, node in nodes], found


def _loop(context, values: Mapping):
    totals, found = [], {}
    size = next(iter(values.values())).shape[0]
    for i in range(size):
        terms, sites = _run(context, {name: value[i] for name, value in values.items()})
        totals.append(sum(term.sum() for term in terms))
        for name, value in sites.items():
            found.setdefault(name, []).append(value)
    return torch.stack(totals), {name: torch.stack(list(v)) for name, v in found.items()}


def _vmap(context, values: Mapping):
    def one(draw):
        terms, sites = _run(context, draw)
        return sum(term.sum() for term in terms), sites

    return torch.vmap(one, randomness="different")(dict(values))


def _plate(context, values: Mapping):
    size = next(iter(values.values())).shape[0]
    one = {name: value[0] for name, value in values.items()}
    shapes = _event_dims(context, one)
    depth = context.max_plate_nesting
    spread = {}
    for name, value in values.items():
        batch_dim = value.dim() - 1 - shapes[name][0]
        spread[name] = value.reshape(size, *(1,) * (depth - batch_dim), *value.shape[1:])
    with _draws_plate(size, depth):
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


WAYS = {"plate": _plate, "vmap": _vmap, "loop": _loop}
