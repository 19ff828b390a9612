"""Guides trained by the host's bounds: losses, draws, and importance weights of the draws."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import (
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.infer.autoguide.initialization import init_to_median

from ..distributions import iaf, maf, nsf, planar, realnvp
from ..infer import AutoFlow
from .batching import guide_draws, log_joint
from .context import Context
from .errors import FitError
from .results import MethodResult, Settings

__all__ = ["GUIDES", "GuideSpec", "Trained", "run_guide", "trained_guide"]

BATCH_SIZE = 2000
MAX_BAD_SHARE = 0.1
FINAL_RATE = 0.01
MAX_NORM = 100.0
REPORT_EVERY = 50


@dataclass(frozen=True)
class GuideSpec:
    """How to build and train a guide.

    Args:
        build: model -> guide of the host.
        learning_rate: default peak rate of Adam, decayed along a cosine.
        description: one line.
    """

    build: Callable
    learning_rate: float
    description: str


@dataclass
class Trained:
    """A trained guide.

    Args:
        guide: the host's guide.
        store: state of the parameter store that belongs to it.
        losses: of every step.
        timings: seconds under ``"compile"`` and ``"fit"``.
        notes: what the guide wants known.
    """

    guide: torch.nn.Module
    store: dict
    losses: np.ndarray
    timings: dict
    notes: list = field(default_factory=list)


def _flow(recipe: Callable) -> Callable:
    return lambda model: AutoFlow(model, recipe)


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
    "nsf": GuideSpec(_flow(nsf), 5e-3, "AutoFlow with a neural spline flow"),
    "maf": GuideSpec(_flow(maf), 5e-3, "AutoFlow with a masked autoregressive flow"),
    "iaf": GuideSpec(_flow(iaf), 5e-3, "AutoFlow with an inverse autoregressive flow"),
    "realnvp": GuideSpec(_flow(realnvp), 5e-3, "AutoFlow with affine couplings"),
    "planar": GuideSpec(_flow(planar), 5e-3, "AutoFlow with planar transforms"),
}


def run_guide(name: str) -> Callable:
    """The runner ``(context, settings, bar) -> MethodResult`` of a guide in :data:`GUIDES`."""

    def run(context: Context, settings: Settings, bar) -> MethodResult:
        trained = trained_guide(name, context, settings, bar)
        start = time.perf_counter()
        with pyro.get_param_store().scope(trained.store):
            draws, weights = _draw(name, trained.guide, context, settings)
        timings = dict(trained.timings, draw=time.perf_counter() - start)
        rate = settings.learning_rate or GUIDES[name].learning_rate
        return MethodResult(
            name,
            "guide",
            draws=draws,
            timings=timings,
            losses=trained.losses,
            log_weights=weights,
            settings=settings.to_dict() | {"learning_rate": rate},
            notes=list(trained.notes),
        )

    return run


def trained_guide(name: str, context: Context, settings: Settings, bar) -> Trained:
    """The guide trained on this model; a second call gives the same one."""
    if name not in context.cache:
        with pyro.get_param_store().scope() as store:
            trained = _train(name, context, settings, bar)
        trained.store = store
        context.cache[name] = trained
    return context.cache[name]


def _train(name: str, context: Context, settings: Settings, bar) -> Trained:
    """Fit a guide with Adam under a cosine decay, skipping steps that are not finite."""
    bar.reset(total=settings.num_steps)
    context.set_seed(name)
    spec = GUIDES[name]
    rate = settings.learning_rate or spec.learning_rate
    start = time.perf_counter()
    guide = spec.build(context.model)
    loss_fn = _bound(name, context, settings)
    params = _parameters(guide, context)
    optimizer = torch.optim.Adam(params, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, settings.num_steps, eta_min=FINAL_RATE * rate
    )
    compiled = time.perf_counter()
    losses = np.empty(settings.num_steps)
    with pyro.validation_enabled(False):
        for step in range(settings.num_steps):
            losses[step] = _step(loss_fn, guide, context, optimizer)
            schedule.step()
            if (step + 1) % REPORT_EVERY == 0 or step + 1 == settings.num_steps:
                bar.update(step + 1 - bar.n)
                _check_losses(losses[: step + 1])
    fitted = time.perf_counter()
    if name == "auto_laplace":
        guide = _as_gaussian(guide, context)
        fitted = time.perf_counter()
    timings = {"compile": compiled - start, "fit": fitted - compiled}
    return Trained(guide, {}, losses, timings, _start_notes(guide))


def _bound(name: str, context: Context, settings: Settings) -> Callable:
    """The function ``(model, guide, *args, **kwargs) -> negative ELBO`` that is minimised."""
    # A point estimate has no randomness to average over.
    num_particles = 1 if name == "auto_laplace" else settings.num_particles
    if context.batching == "vmap" and num_particles > 1:
        return _vmap_bound(context, num_particles)
    return Trace_ELBO(
        num_particles=num_particles,
        vectorize_particles=context.batching == "plate" and num_particles > 1,
        max_plate_nesting=context.max_plate_nesting,
    ).differentiable_loss


def _vmap_bound(context: Context, num_particles: int) -> Callable:
    """The pathwise ELBO for models that do not broadcast over a plate of particles."""

    def loss_fn(model, guide, *args, **kwargs):
        values, log_q = guide_draws(context, guide, num_particles)
        log_p, _ = log_joint(context, values)
        return (log_q - log_p).mean()

    return loss_fn


def _parameters(guide: torch.nn.Module, context: Context) -> list:
    """Every parameter of guide and model, found by one run of each."""
    with poutine.trace(param_only=True) as capture:
        guide(*context.args, **context.kwargs)
        context.model(*context.args, **context.kwargs)
    found = [site["value"].unconstrained() for site in capture.trace.nodes.values()]
    found += list(guide.parameters())
    return [p for p in {id(p): p for p in found}.values() if p.requires_grad]


def _step(loss_fn: Callable, guide, context: Context, optimizer) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = loss_fn(context.model, guide, *context.args, **context.kwargs)
    value = loss.item()
    if np.isfinite(value):
        loss.backward()
        params = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(params, MAX_NORM)
        if torch.isfinite(norm):
            optimizer.step()
        else:
            value = float("nan")
    return value


def _check_losses(losses: np.ndarray) -> None:
    bad = int(np.sum(~np.isfinite(losses)))
    if bad > MAX_BAD_SHARE * len(losses):
        raise FitError(
            f"the ELBO was not finite in {bad} of {len(losses)} steps; try a smaller "
            "learning_rate or x64"
        )


def _start_notes(guide) -> list[str]:
    """Which start a flow guide took."""
    report = getattr(guide, "init_report", None)
    if report is None:
        return []
    tried = [f"{name} {elbo:.2f}" for name, elbo in report.elbo.items()]
    tried += [f"{name} failed" for name in report.failed]
    return [f"start: {report.chosen} (ELBO of the starts: {', '.join(tried)})"]


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
    for done in range(0, settings.num_guide_draws, BATCH_SIZE):
        size = min(BATCH_SIZE, settings.num_guide_draws - done)
        values, log_q = guide_draws(context, guide, size)
        log_p, found = log_joint(context, values)
        weights.append((log_p - log_q).double().numpy())
        for site, value in (values | found).items():
            draws.setdefault(site, []).append(value.numpy())
    merged = {site: np.concatenate(parts)[None] for site, parts in draws.items()}
    return merged, np.concatenate(weights)
