"""Which latent sites are local, and what the plates of one call of the model are."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array, random
from jax.extend.core import Var
from numpyro import handlers

from .sites import PlateSpace

__all__ = ["PlateCall", "check_continuous", "find_spaces", "plate_calls", "traced"]


@dataclass(frozen=True)
class PlateCall:
    """A plate in one call of the model.

    Attributes:
        size: number of data of the minibatch.
        given: whether the model was given their indices, which this host's plates never are.
        read: whether the model's density depends on the indices the host draws.
    """

    size: int
    given: bool
    read: bool


def traced(model: Callable, args: tuple, kwargs: dict, init_loc_fn: Callable | None = None) -> dict:
    """A trace of the model, started where asked, apart from everything around it."""
    seeded = handlers.seed(model, random.key(0))
    if init_loc_fn is not None:
        seeded = handlers.substitute(seeded, substitute_fn=init_loc_fn)
    with handlers.block():
        return handlers.trace(seeded).get_trace(*args, **kwargs)


def check_continuous(trace: dict) -> None:
    """Raise if a latent site is discrete."""
    for name, site in trace.items():
        latent = site["type"] == "sample" and not site["is_observed"]
        if latent and site["fn"].support.is_discrete:
            raise ValueError(
                f"model must have latent sites that are continuous, got {name!r}; hide it from "
                f"this guide, handlers.block(model, hide=[{name!r}]), and train with "
                "TraceEnum_ELBO (which needs the package funsor), guide it in an AutoGuideList "
                "under TraceGraph_ELBO, or sum it out inside the model (MixtureSameFamily)."
            )


def find_spaces(trace: dict, names: tuple[str, ...] | None) -> dict[str, PlateSpace]:
    """The data plates with their local sites, by name.

    Args:
        trace: of the model.
        names: the data plates, or None for those that are subsampled, or else all with latent
            sites.

    Raises:
        ValueError: if there is none, or a site lies in two of them.
    """
    check_continuous(trace)
    latent = [s for s in trace.values() if s["type"] == "sample" and not s["is_observed"]]
    frames = {f.name: f for site in latent for f in site["cond_indep_stack"]}
    full_sizes = {name: trace[name]["args"][0] for name in frames}
    if names is None:
        subsampled = [f.name for f in frames.values() if full_sizes[f.name] != f.size]
        names = tuple(subsampled or frames)
    missing = [name for name in names if name not in frames]
    if missing or not names:
        raise ValueError(
            f"local must name plates with latent sites, got {missing or 'a model without any'}; "
            f"such plates of the model are {sorted(frames)}."
        )
    members: dict[str, list] = {name: [] for name in names}
    for site in latent:
        # innermost first, unlike the other host
        inside = [f.name for f in reversed(site["cond_indep_stack"]) if f.name in members]
        if len(inside) > 1:
            raise ValueError(
                f"local must leave each latent site in one data plate, got {site['name']!r} in "
                f"{inside}; pass a dictionary with the plate of the data, "
                f"local={{{inside[0]!r}: LocalFlow()}}."
            )
        if inside:
            members[inside[0]].append(site)
    return {
        name: PlateSpace(frames[name], full_sizes[name], sites) for name, sites in members.items()
    }


def plate_calls(
    model: Callable, spaces: dict[str, PlateSpace], args: tuple, kwargs: dict
) -> dict[str, PlateCall]:
    """What the plates are in a call with these arguments, found without computing anything."""
    sizes: dict[str, int] = {}

    def run() -> None:
        trace = traced(model, args, kwargs)
        plates = {name: site for name, site in trace.items() if site["type"] == "plate"}
        sizes.update({name: len(plates[name]["value"]) for name in spaces if name in plates})

    jax.eval_shape(run)
    missing = [name for name in spaces if name not in sizes]
    if missing:
        raise ValueError(f"model must have the plate {missing[0]!r} in every call, got none.")
    return {
        name: PlateCall(
            sizes[name],
            False,
            sizes[name] < space.full_size and _reads(model, name, sizes[name], args, kwargs),
        )
        for name, space in spaces.items()
    }


def _reads(model: Callable, name: str, size: int, args: tuple, kwargs: dict) -> bool:
    """Whether the density is a function of the indices of a plate."""

    def density(indices: Array) -> Array:
        trace = traced(handlers.substitute(model, data={name: indices}), args, kwargs)
        sites = [site for site in trace.values() if site["type"] == "sample"]
        return sum(jnp.sum(site["fn"].log_prob(site["value"])) for site in sites)

    jaxpr = jax.make_jaxpr(density)(jnp.arange(size)).jaxpr
    reached = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if reached.intersection(v for v in equation.invars if isinstance(v, Var)):
            reached.update(equation.outvars)
    return any(v in reached for v in jaxpr.outvars if isinstance(v, Var))
