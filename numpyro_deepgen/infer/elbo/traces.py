"""Traces of a guide and of a model on its draws, as sites with log densities."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from numpyro import handlers
from numpyro.primitives import Messenger

from ..top_down import check_fresh, find_top_down, split_traces
from .sites import Plate, Site, TracePair, check_match

__all__ = [
    "DetachDraws",
    "run_with_params",
    "scored_guide",
    "scored_pair",
    "scored_pair_at_draws",
    "share_minibatch",
]

PLATE_STREAM = 0x706C6174


class DetachDraws(Messenger):
    """Stops gradients at latent draws: at all, or where the host has no derivative of the draw."""

    def __init__(self, everywhere: bool):
        super().__init__()
        self.everywhere = everywhere

    def postprocess_message(self, msg) -> None:
        """Stop the gradient of a draw."""
        if msg["type"] != "sample" or msg["is_observed"]:
            return
        if self.everywhere or not msg["fn"].has_rsample:
            msg["value"] = lax.stop_gradient(msg["value"])
            # what was left over from drawing would let the gradient through
            msg["intermediates"] = None


def share_minibatch(rng_key: Array, *functions: Callable) -> list[Callable]:
    """Functions whose plates draw the same minibatch whatever the key of a run."""
    plate_key = random.fold_in(rng_key, PLATE_STREAM)
    hidden = ["sample", "prng_key", "control_flow"]
    return [handlers.seed(function, plate_key, hide_types=hidden) for function in functions]


def scored_pair(
    rng_key: Array,
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: dict,
    params: dict,
    detach: bool = False,
) -> tuple[TracePair, dict]:
    """Run the guide, and the model on its draws.

    Args:
        rng_key: key of the draws.
        model: model of the host.
        guide: guide of the host.
        args: their positional arguments.
        kwargs: their keyword arguments.
        params: constrained parameters, and mutable state, by name.
        detach: whether gradients stop at the draws.

    Returns:
        The sites, and the mutable state after the run by name.

    Raises:
        ValueError: if the sites do not match.
    """
    model_key, guide_key = random.split(rng_key)
    top_down = find_top_down(guide)
    if top_down is not None:
        with DetachDraws(everywhere=detach), top_down.exposed():
            both = run_with_params(handlers.seed(guide, guide_key), args, kwargs, params)
        return _checked(*split_traces(both)), _mutable(both)
    with DetachDraws(everywhere=detach):
        guide_trace = run_with_params(handlers.seed(guide, guide_key), args, kwargs, params)
    mutable = _mutable(guide_trace)
    replayed = handlers.replay(handlers.seed(model, model_key), guide_trace)
    model_trace = run_with_params(replayed, args, kwargs, {**params, **mutable})
    return _checked(model_trace, guide_trace), {**mutable, **_mutable(model_trace)}


def scored_pair_at_draws(
    rng_key: Array,
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: dict,
    params: dict,
    at: Callable[[Array, dict], Array],
) -> tuple[TracePair, dict]:
    """Run the guide, then score model and guide at its draws, the guide's parameters held fixed.

    Gradients reach the parameters of the guide through the draws alone.

    Args:
        rng_key: key of the draws.
        model: model of the host.
        guide: guide of the host.
        args: their positional arguments.
        kwargs: their keyword arguments.
        params: constrained parameters, and mutable state, by name.
        at: function of a draw and its site that gives the value to score.

    Returns:
        The sites, and the mutable state after the run by name.

    Raises:
        ValueError: if the sites do not match.
    """
    model_key, guide_key = random.split(rng_key)
    with DetachDraws(everywhere=False):
        first = run_with_params(handlers.seed(guide, guide_key), args, kwargs, params)
    mutable = _mutable(first)
    for name, site in first.items():
        if site["type"] == "sample":
            check_fresh(name, site["fn"])
    values = {
        name: at(site["value"], site)
        for name, site in first.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    fixed = {**jax.tree.map(lax.stop_gradient, params), **values}
    guide_trace = run_with_params(handlers.seed(guide, guide_key), args, kwargs, fixed)
    replayed = handlers.replay(handlers.seed(model, model_key), guide_trace)
    model_trace = run_with_params(replayed, args, kwargs, {**params, **mutable})
    return _checked(model_trace, guide_trace), {**mutable, **_mutable(model_trace)}


def scored_guide(
    rng_key: Array, guide: Callable, args: tuple, kwargs: dict, params: dict, draws: dict
) -> dict[str, Site]:
    """Sites of the guide at draws by name.

    Raises:
        ValueError: if the guide draws a site that is not among them.
    """
    data = {**params, **draws}
    sites = _sites(run_with_params(handlers.seed(guide, rng_key), args, kwargs, data))
    besides = [name for name, site in sites.items() if name not in draws and not site.observed]
    if besides:
        raise ValueError(
            f"guide must draw latent sites of the model only to be scored at the model's draws, "
            f"got {besides} besides; pass insomnia=1."
        )
    return sites


def run_with_params(function: Callable, args: tuple, kwargs: dict, data: dict) -> dict:
    """Trace of a function with these parameters, or other values, by name."""
    return handlers.trace(handlers.substitute(function, data=data)).get_trace(*args, **kwargs)


def _mutable(trace: dict) -> dict:
    return {name: site["value"] for name, site in trace.items() if site["type"] == "mutable"}


def _checked(model_trace: dict, guide_trace: dict) -> TracePair:
    pair = TracePair(_sites(model_trace), _sites(guide_trace))
    check_match(pair)
    return pair


def _sites(trace: dict) -> dict[str, Site]:
    sites = trace.items()
    return {name: _site(name, site, trace) for name, site in sites if site["type"] == "sample"}


def _site(name: str, site: dict, trace: dict) -> Site:
    infer = site["infer"] or {}
    if infer.get("enumerate"):
        raise ValueError(
            f"sites must be drawn, got {name!r} enumerated; take its enumeration out and pass "
            "gradient='vimco', or use the host's TraceEnum_ELBO."
        )
    fn, value, scale = site["fn"], site["value"], site["scale"]
    plates = (
        Plate(frame.name, frame.dim, _full_size(frame, trace), frame.size)
        for frame in site["cond_indep_stack"]
    )
    log_prob = jnp.asarray(fn.log_prob(value, *filter(None, [site["intermediates"]])))
    scale = 1.0 if scale is None else scale
    auxiliary = bool(infer.get("is_auxiliary"))
    return Site(name, fn, value, log_prob, tuple(plates), scale, site["is_observed"], auxiliary)


def _full_size(frame, trace: dict) -> int:
    plate = trace.get(frame.name)
    return frame.size if plate is None else plate["args"][0]
