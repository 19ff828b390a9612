"""Whether model and guide may run on several particles at once, in an outermost plate."""

from collections.abc import Callable

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, ExpandedDistribution, Independent, MaskedDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from ._random_state import unmoved_random_state

__all__ = ["drawn_sites", "is_delta", "plate_nesting_if_vectorizable", "scored_traces"]

NUM_TESTED = 3
TOLERANCE = 1e-3


@torch.no_grad()
def plate_nesting_if_vectorizable(
    model: Callable, guide: Callable, args: tuple, kwargs: dict
) -> int | None:
    """Depth of the plates if an outermost plate of particles gives the right densities, else None.

    A few particles are drawn in such a plate and scored there and one by one.
    """
    with unmoved_random_state(), poutine.block(), pyro.validation_enabled(False):
        try:
            nesting = _nesting(*scored_traces(model, guide, args, kwargs))
            together = scored_traces(
                pyro.plate("_particles", NUM_TESTED, dim=-1 - nesting)(model),
                pyro.plate("_particles", NUM_TESTED, dim=-1 - nesting)(guide),
                args,
                kwargs,
            )
            totals = [_totals(trace, nesting) for trace in together]
            for i in range(NUM_TESTED):
                alone = _run_alone(model, guide, args, kwargs, together, i)
                for trace, total in zip(alone, totals, strict=True):
                    one = torch.as_tensor(trace.log_prob_sum())
                    if not torch.allclose(one, total[i], rtol=TOLERANCE, atol=TOLERANCE):
                        return None
        except Exception:
            return None
    return nesting


def scored_traces(model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple:
    """Scored traces of the guide and of the model on its draws."""
    unwrapped = poutine.unwrap(guide)
    if isinstance(unwrapped, Messenger):
        # a guide over the model's own run
        guide(*args, **kwargs)
        model_trace, guide_trace = unwrapped.get_traces()
    else:
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
    for trace in (guide_trace, model_trace):
        trace.compute_log_prob()
    return guide_trace, model_trace


def _nesting(*traces) -> int:
    frames = [
        frame
        for trace in traces
        for node in prune_subsample_sites(trace).nodes.values()
        if node["type"] == "sample"
        for frame in node["cond_indep_stack"]
        if frame.vectorized
    ]
    return max((-frame.dim for frame in frames), default=0)


def drawn_sites(trace) -> dict[str, dict]:
    """The sample sites of a trace by name, without the indices of minibatches."""
    nodes = prune_subsample_sites(trace).nodes.items()
    return {name: node for name, node in nodes if node["type"] == "sample"}


def _totals(trace, nesting: int) -> Tensor:
    """Log density of each particle."""
    # a number alone: it joins sites on any device
    total = torch.zeros(())
    for name, node in drawn_sites(trace).items():
        log_prob = node["log_prob"]
        if log_prob.dim() != nesting + 1 or len(log_prob) != NUM_TESTED:
            raise ValueError(f"site {name!r} does not follow the particles")
        total = total + log_prob.reshape(NUM_TESTED, -1).sum(-1)
    return total.expand(NUM_TESTED)


def _run_alone(model: Callable, guide: Callable, args: tuple, kwargs: dict, together, i: int):
    """Scored traces of guide and model at particle ``i``, with the same minibatches."""
    minibatches = {
        name: node["value"]
        for trace in together
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and name not in drawn_sites(trace) and name != "_particles"
    }
    drawn = drawn_sites(together[0])
    shapes = {
        name: node["value"].shape
        for name, node in poutine.trace(guide).get_trace(*args, **kwargs).nodes.items()
        if name in drawn and not is_delta(node["fn"])
    }
    values = {name: drawn[name]["value"][i].reshape(shape) for name, shape in shapes.items()}
    with _Place({**minibatches, **values}):
        return scored_traces(model, guide, args, kwargs)


class _Place(Messenger):
    """Gives latent sites and minibatches values, and leaves all else of a site as it is."""

    def __init__(self, values: dict[str, Tensor]):
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True


def is_delta(fn) -> bool:
    """Whether the draw is a function of other draws."""
    while isinstance(fn, (Independent, MaskedDistribution, ExpandedDistribution)):
        fn = fn.base_dist
    return isinstance(fn, Delta)
