"""Guides trained by the host's SVI: losses, draws, and importance weights of the draws."""

import time
from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro.infer import ELBO, Trace_ELBO
from pyro.infer.autoguide import (
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.infer.autoguide.initialization import init_to_median

from .. import distributions
from ..infer import AutoFlow, fit
from ..infer import FitError as TrainingError
from ._mapped_elbo import MappedELBO
from .batching import broadcasts, guide_draws, log_joint
from .budget import TrainingClock
from .context import Context
from .errors import FitError
from .guide_specs import FLOWS, GuideSpec, Trained, kept_steps, start_notes
from .results import MethodResult
from .settings import Settings

__all__ = ["GUIDES", "run_guide", "trained_guide"]

BATCH_SIZE = 2000
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
    "auto_iaf": GuideSpec(
        lambda model: AutoIAFNormal(model, num_transforms=3), 5e-3, "the host's AutoIAFNormal"
    ),
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
        start = time.perf_counter()
        with pyro.get_param_store().scope(trained.params):
            draws, weights = _draw(name, trained.guide, context, settings)
        timings = dict(trained.timings, draw=time.perf_counter() - start)
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
        with pyro.get_param_store().scope() as store:
            trained = _train(name, spec or GUIDES[name], context, settings, bar)
        trained.params = store
        context.cache[key] = trained
    return context.cache[key]


def _train(name: str, spec: GuideSpec, context: Context, settings: Settings, bar) -> Trained:
    """Fit a guide with Adam under a cosine decay of its rate."""
    context.set_seed(name)
    guide = spec.build(context.model)
    peak = settings.learning_rate or spec.learning_rate
    clock = TrainingClock(peak, settings.num_steps, settings.time_budget, bar)
    notes = []
    try:
        with pyro.validation_enabled(False):
            result = fit(
                context.model,
                guide,
                clock.num_steps,
                args=context.args,
                kwargs=context.kwargs,
                loss=_bound(name, guide, context, settings),
                learning_rate=peak if peak == "auto" else clock.rate,
                clip_norm=MAX_NORM,
                evaluate_every=clock.chunk,
                progress=False,
                callback=clock,
            )
    except TrainingError as error:
        result = kept_steps(error, settings)
        notes.append(f"training ended at step {result.num_steps}, where it was not finite")
    timings = clock.timings()
    if name == "auto_laplace":
        start = time.perf_counter()
        guide = _as_gaussian(guide, context)
        timings["fit"] += time.perf_counter() - start
    rate = peak if peak != "auto" else result.learning_rate
    return Trained(guide, {}, result.losses, timings, rate, notes + start_notes(guide))


def _bound(name: str, guide, context: Context, settings: Settings) -> ELBO:
    """The bound that is maximised, its particles together where model and guide can run so."""
    # a point estimate has no randomness to average over
    num_particles = 1 if name == "auto_laplace" else settings.num_particles
    if num_particles == 1:
        return Trace_ELBO()
    together = name in GUIDES or broadcasts(context, guide)
    if together and context.batching == "vmap":
        return MappedELBO(context, num_particles)
    return Trace_ELBO(
        num_particles=num_particles,
        vectorize_particles=together and context.batching == "plate",
        max_plate_nesting=context.max_plate_nesting,
    )


def _as_gaussian(guide: AutoLaplaceApproximation, context: Context) -> AutoMultivariateNormal:
    """Read a Laplace approximation as the full-rank Gaussian guide that it is."""
    try:
        gaussian = guide.laplace_approximation(*context.args, **context.kwargs)
    except torch.linalg.LinAlgError as error:
        raise FitError(
            "the Hessian at the mode is not positive definite: no Laplace approximation"
        ) from error
    if not torch.isfinite(gaussian.scale_tril).all():
        raise FitError("the Hessian at the mode is not positive definite: no Laplace approximation")
    return gaussian


@torch.no_grad()
def _draw(name: str, guide, context: Context, settings: Settings):
    """Draws of the latent and deterministic sites with their log importance weights."""
    context.set_seed(f"{name} draws")
    draws, weights = {}, []
    together = name in GUIDES or broadcasts(context, guide)
    for done in range(0, settings.num_guide_draws, BATCH_SIZE):
        count = min(BATCH_SIZE, settings.num_guide_draws - done)
        values, log_q = guide_draws(context, guide, count, together)
        log_p, found = log_joint(context, values)
        weights.append((log_p - log_q).double().numpy())
        for site, value in (values | found).items():
            draws.setdefault(site, []).append(value.numpy())
    merged = {site: np.concatenate(parts)[None] for site, parts in draws.items()}
    return merged, np.concatenate(weights)
