"""Which latent sites are local, and what the plates of one call of the model are."""

from collections.abc import Callable
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from .._random_state import unmoved_random_state
from .sites import PlateSpace

__all__ = ["PlateCall", "find_spaces", "plate_calls", "traced"]


@dataclass(frozen=True)
class PlateCall:
    """A plate in one call of the model.

    Attributes:
        size: number of data of the minibatch.
        given: whether the model was given their indices, ``plate(..., subsample=indices)``.
        read: whether the model's density depends on the indices the host draws.
    """

    size: int
    given: bool
    read: bool


def traced(model: Callable, args: tuple, kwargs: dict) -> poutine.Trace:
    """A trace of the model apart from everything around it."""
    with poutine.block(), unmoved_random_state(), torch.no_grad():
        return poutine.trace(model).get_trace(*args, **kwargs)


def find_spaces(trace: poutine.Trace, names: tuple[str, ...] | None) -> dict[str, PlateSpace]:
    """The data plates with their local sites, by name.

    Args:
        trace: of the model.
        names: the data plates, or None for those that are subsampled, or else all with latent
            sites.

    Raises:
        ValueError: if there is none, or a site lies in two of them.
    """
    latent = [site for _, site in trace.iter_stochastic_nodes()]
    frames = {f.name: f for site in latent for f in site["cond_indep_stack"] if f.vectorized}
    if names is None:
        subsampled = [f.name for f in frames.values() if f.full_size not in (None, f.size)]
        names = tuple(subsampled or frames)
    missing = [name for name in names if name not in frames]
    if missing or not names:
        raise ValueError(
            f"local must name plates with latent sites, got {missing or 'a model without any'}; "
            f"such plates of the model are {sorted(frames)}."
        )
    members: dict[str, list] = {name: [] for name in names}
    for site in latent:
        inside = [f.name for f in site["cond_indep_stack"] if f.name in members]
        if len(inside) > 1:
            raise ValueError(
                f"local must leave each latent site in one data plate, got {site['name']!r} in "
                f"{inside}; pass a dictionary with the plate of the data, "
                f"local={{{inside[0]!r}: LocalFlow()}}."
            )
        if inside:
            members[inside[0]].append(site)
    return {name: PlateSpace(frames[name], sites) for name, sites in members.items()}


def plate_calls(
    model: Callable, spaces: dict[str, PlateSpace], args: tuple, kwargs: dict
) -> dict[str, PlateCall]:
    """What the plates are in a call with these arguments."""
    recorder = _Indices({})
    trace = traced(recorder(model), args, kwargs)
    found = {}
    for name, space in spaces.items():
        if name not in trace.nodes:
            raise ValueError(f"model must have the plate {name!r} in every call, got none.")
        size = len(trace.nodes[name]["value"])
        given = name in recorder.given
        read = size < space.full_size and not given and _reads(model, trace, space, args, kwargs)
        found[name] = PlateCall(size, given, read)
    return found


class _Indices(Messenger):
    """Notes plates with given indices, and sets those of others."""

    def __init__(self, indices: dict[str, Tensor]):
        super().__init__()
        self.indices, self.given = indices, set()

    def _pyro_sample(self, msg):
        if isinstance(msg["fn"], _Subsample):
            if msg["value"] is not None:
                self.given.add(msg["name"])
            elif msg["name"] in self.indices:
                msg["value"] = self.indices[msg["name"]]


def _reads(
    model: Callable, trace: poutine.Trace, space: PlateSpace, args: tuple, kwargs: dict
) -> bool:
    """Whether the density changes with the indices, all latent sites being the same."""
    size, totals = len(trace.nodes[space.name]["value"]), []
    latent = prune_subsample_sites(trace).iter_stochastic_nodes()
    conditioned = pyro.condition(model, data={name: site["value"] for name, site in latent})
    for start in (0, space.full_size - size):
        indices = _Indices({space.name: torch.arange(start, start + size)})
        totals.append(traced(indices(conditioned), args, kwargs).log_prob_sum())
    return not torch.equal(*totals)
