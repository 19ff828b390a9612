"""Guides trained by the host's SVI: losses, draws, and importance weights of the draws."""

import time
from collections.abc import Callable

import jax
import numpy as np
from jax import random
from numpyro import handlers
from numpyro.infer import Trace_ELBO
from numpyro.infer.autoguide import (
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoMultivariateNormal,
    AutoNormal,
)
from numpyro.infer.initialization import init_to_median

from .. import distributions
from ..infer import AutoFlow, fit
from ..infer import FitError as TrainingError
from .batching import guide_draws
from .budget import TrainingClock
from .context import Context
from .errors import FitError
from .guide_specs import FLOWS, GuideSpec, Trained, kept_steps, start_notes
from .results import MethodResult
from .settings import Settings

__all__ = ["GUIDES", "run_guide", "trained_guide"]

MAX_NORM = 100.0
FLOW_RATE = 5e-3


def _flow(name: str) -> GuideSpec:
    recipe = getattr(distributions, name)
    return GuideSpec(
        lambda model: AutoFlow(model, recipe), FLOW_RATE, f"AutoFlow with {FLOWS[name]}"
    )


def _host(guide_class: type, **options) -> Callable:
    return lambda model: guide_class(model, init_loc_fn=init_to_median, **options)


GUIDES = {
    "auto_normal": GuideSpec(_host(AutoNormal), 2e-2, "the host's AutoNormal (mean field)"),
    "auto_mvn": GuideSpec(
        _host(AutoMultivariateNormal), 1e-2, "the host's AutoMultivariateNormal (full rank)"
    ),
    "auto_laplace": GuideSpec(
        _host(AutoLaplaceApproximation), 2e-2, "the host's AutoLaplaceApproximation"
    ),
    "auto_iaf": GuideSpec(_host(AutoIAFNormal, num_flows=3), 5e-3, "the host's AutoIAFNormal"),
    **{name: _flow(name) for name in FLOWS},
}


def run_guide(name: str, spec: GuideSpec | None = None) -> Callable:
    """The runner ``(context, settings, bar) -> MethodResult`` of a guide.

    Args:
        name: of the method.
        spec: how to build it; that of this name in :data:`GUIDES` by default.
    """

    def run(context: Context, settings: Settings, bar) -> MethodResult:
        trained = trained_guide(name, context, settings, bar, spec)
        compile_seconds, draw_seconds, draws, weights = _draw(name, trained, context, settings)
        timings = dict(trained.timings, draw=draw_seconds)
        timings["compile"] += compile_seconds
        return MethodResult(
            name,
            "guide",
            draws=draws,
            timings=timings,
            losses=trained.losses,
            log_weights=weights,
            settings=settings.to_dict() | {"learning_rate": trained.learning_rate},
            notes=list(trained.notes),
        )

    return run


def trained_guide(
    name: str, context: Context, settings: Settings, bar, spec: GuideSpec | None = None
) -> Trained:
    """The guide trained on this model; a second call with the same budget gives the same one."""
    key = (name, settings.num_steps, settings.time_budget)
    if key not in context.cache:
        context.cache[key] = _train(name, spec or GUIDES[name], context, settings, bar)
    return context.cache[key]


def _train(name: str, spec: GuideSpec, context: Context, settings: Settings, bar) -> Trained:
    """Fit a guide with Adam under a cosine decay of its rate."""
    guide = spec.build(context.model)
    peak = settings.learning_rate or spec.learning_rate
    clock = TrainingClock(peak, settings.num_steps, settings.time_budget, bar)
    # a point estimate has no randomness to average over
    num_particles = 1 if name == "auto_laplace" else settings.num_particles
    notes = []
    try:
        result = fit(
            context.rng_key(name),
            context.model,
            guide,
            clock.num_steps,
            args=context.args,
            kwargs=context.kwargs,
            loss=Trace_ELBO(num_particles=num_particles),
            learning_rate=peak if peak == "auto" else clock.rate,
            clip_norm=MAX_NORM,
            evaluate_every=clock.chunk,
            progress=False,
            callback=clock,
        )
    except TrainingError as error:
        result = kept_steps(error, settings)
        notes.append(f"training ended at step {result.num_steps}, where it was not finite")
    rate = peak if peak != "auto" else result.learning_rate
    trained = Trained(guide, result.params, result.losses, clock.timings(), rate, notes)
    trained.notes += start_notes(guide)
    return _as_gaussian(trained, context) if name == "auto_laplace" else trained


def _as_gaussian(trained: Trained, context: Context) -> Trained:
    """Read a Laplace approximation as the full-rank Gaussian guide that it is."""
    start = time.perf_counter()
    posterior = trained.guide.get_posterior(trained.params)
    guide = AutoMultivariateNormal(context.model)
    with handlers.seed(rng_seed=0), handlers.block():
        guide(*context.args, **context.kwargs)
    params = {
        f"{guide.prefix}_loc": posterior.loc,
        f"{guide.prefix}_scale_tril": posterior.scale_tril,
    }
    if not all(np.all(np.isfinite(value)) for value in params.values()):
        raise FitError("the Hessian at the mode is not positive definite: no Laplace approximation")
    seconds = time.perf_counter() - start
    timings = dict(trained.timings, fit=trained.timings["fit"] + seconds)
    return Trained(guide, params, trained.losses, timings, trained.learning_rate, trained.notes)


def _draw(name: str, trained: Trained, context: Context, settings: Settings):
    """Draws of the latent and deterministic sites with their log importance weights."""
    keys = random.split(random.fold_in(context.rng_key(name), 1), settings.num_guide_draws)
    start = time.perf_counter()
    draw = guide_draws(context, trained.guide, trained.params)
    draw = jax.jit(draw).lower(keys).compile()
    compiled = time.perf_counter()
    values, weights = jax.tree.map(np.asarray, draw(keys))
    drawn = time.perf_counter()
    draws = {site: v[None] for site, v in values.items() if v.dtype.kind in "fiub"}
    return compiled - start, drawn - compiled, draws, weights.astype(np.float64)
