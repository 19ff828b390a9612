"""Traces of a guide and of a model on its draws, as sites with log densities."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites, site_is_subsample
from torch import Tensor

from ..top_down import check_fresh
from .sites import Plate, Site, TracePair, check_match

__all__ = [
    "PARTICLES",
    "DetachDraws",
    "SharedMinibatch",
    "particle_plate",
    "scored_guide",
    "scored_pair",
    "scored_pair_at_draws",
]

PARTICLES = "_particles"


class SharedMinibatch(Messenger):
    """Gives the plates inside the minibatches that they drew first."""

    def __init__(self):
        super().__init__()
        self.values: dict[str, Tensor] = {}

    def _pyro_sample(self, msg) -> None:
        if site_is_subsample(msg) and msg["value"] is None and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True

    def _pyro_post_sample(self, msg) -> None:
        if site_is_subsample(msg) and msg["name"] != PARTICLES:
            self.values.setdefault(msg["name"], msg["value"])


class DetachDraws(Messenger):
    """Stops gradients at every latent draw inside."""

    def _pyro_post_sample(self, msg) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            msg["value"] = msg["value"].detach()


def scored_pair(
    model: Callable, guide: Callable, args: tuple, kwargs: dict, detach: bool = False
) -> TracePair:
    """Run the guide, and the model on its draws.

    Args:
        model: model of the host.
        guide: guide of the host, or one that is a messenger over the model.
        args: their positional arguments.
        kwargs: their keyword arguments.
        detach: whether gradients stop at the draws.

    Raises:
        ValueError: if the sites do not match.
    """
    with ExitStack() as stack:
        if detach:
            stack.enter_context(DetachDraws())
        model_trace, guide_trace = _traces(model, guide, args, kwargs)
    return _checked(_sites(model_trace), _sites(guide_trace))


def _traces(model: Callable, guide: Callable, args: tuple, kwargs: dict):
    """Traces of the model and of the guide; a messenger gives both in one run."""
    unwrapped = poutine.unwrap(guide)
    if isinstance(unwrapped, Messenger):
        guide(*args, **kwargs)
        return unwrapped.get_traces()
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    replayed = poutine.replay(model, trace=guide_trace)
    return poutine.trace(replayed).get_trace(*args, **kwargs), guide_trace


def scored_pair_at_draws(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: dict,
    at: Callable[[Tensor, dict], Tensor],
) -> TracePair:
    """Run the guide, then score model and guide at its draws, the guide's parameters held fixed.

    Gradients reach the parameters of the guide through the draws alone.

    Args:
        model: model of the host.
        guide: guide of the host.
        args: their positional arguments.
        kwargs: their keyword arguments.
        at: function of a draw and its site that gives the value to score.

    Raises:
        ValueError: if the sites do not match.
    """
    first = _traces(_nothing, guide, args, kwargs)[1]
    leaves = _leaves([site.log_prob for site in _sites(first).values()])
    at_draws = first.copy()
    for name, node in prune_subsample_sites(first).nodes.items():
        if node["type"] == "sample" and not node["is_observed"]:
            check_fresh(name, node["fn"])
            at_draws.nodes[name] = {**node, "value": at(node["value"], node)}
    with _fixed(leaves), poutine.replay(trace=at_draws):
        guide_trace = _traces(_nothing, guide, args, kwargs)[1]
        guide_sites = _sites(guide_trace)
    replayed = poutine.replay(model, trace=at_draws)
    return _checked(_sites(poutine.trace(replayed).get_trace(*args, **kwargs)), guide_sites)


def scored_guide(guide: Callable, args: tuple, kwargs: dict, draws) -> dict[str, Site]:
    """Sites of the guide at the draws of a trace.

    Raises:
        ValueError: if the guide draws a site that the trace does not have.
    """
    with poutine.replay(trace=draws):
        sites = _sites(_traces(_nothing, guide, args, kwargs)[1])
    besides = [name for name, site in sites.items() if name not in draws and not site.observed]
    if besides:
        raise ValueError(
            f"guide must draw latent sites of the model only to be scored at the model's draws, "
            f"got {besides} besides; pass insomnia=1."
        )
    return sites


def _nothing(*args, **kwargs) -> None:
    """A model without sites."""


def _leaves(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors that gradients of these would be left on."""
    found, seen = [], set()
    stack = [tensor.grad_fn for tensor in tensors]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        stack += [parent for parent, _ in node.next_functions]
    return found


@contextmanager
def _fixed(leaves: list[Tensor]) -> Iterator[None]:
    """Let what is computed inside not depend on these."""
    for leaf in leaves:
        leaf.requires_grad_(False)
    try:
        with warnings.catch_warnings():
            # the host tells of networks that do not train
            warnings.filterwarnings("ignore", message=".*was not registered in the param store")
            yield
    finally:
        for leaf in leaves:
            leaf.requires_grad_(True)


def _checked(model: dict[str, Site], guide: dict[str, Site]) -> TracePair:
    pair = TracePair(model, guide)
    check_match(pair)
    return pair


def _sites(trace: poutine.Trace) -> dict[str, Site]:
    pruned = prune_subsample_sites(trace)
    pruned.compute_log_prob()
    nodes = pruned.nodes.items()
    return {name: _site(name, node) for name, node in nodes if node["type"] == "sample"}


def _site(name: str, node: dict) -> Site:
    if node["infer"].get("enumerate"):
        raise ValueError(
            f"sites must be drawn, got {name!r} enumerated; take its enumeration out and pass "
            "gradient='vimco', or use the host's TraceEnum_ELBO."
        )
    plates = (
        Plate(frame.name, frame.dim, frame.full_size, frame.size)
        for frame in node["cond_indep_stack"]
        if frame.name != PARTICLES
    )
    log_prob = torch.as_tensor(scale_and_mask(node["unscaled_log_prob"], mask=node["mask"]))
    auxiliary = bool(node["infer"].get("is_auxiliary"))
    value, observed = node["value"], node["is_observed"]
    fn = node["fn"] if node["mask"] is None else node["fn"].mask(node["mask"])
    return Site(name, fn, value, log_prob, tuple(plates), node["scale"], observed, auxiliary)


def particle_plate(num_particles: int, nesting: int) -> pyro.plate:
    """The plate around all others in which particles are run together."""
    return pyro.plate(PARTICLES, num_particles, dim=-1 - nesting)
