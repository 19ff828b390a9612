"""Guides trained by the host's SVI: losses, draws, and importance weights of the draws."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax, random
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import (
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoMultivariateNormal,
    AutoNormal,
)
from numpyro.infer.initialization import init_to_median
from numpyro.optim import optax_to_numpyro

from ..distributions import iaf, maf, nsf, planar, realnvp
from ..infer import AutoFlow
from .batching import guide_draws
from .context import Context
from .errors import FitError
from .results import MethodResult, Settings

__all__ = ["GUIDES", "GuideSpec", "Trained", "run_guide", "trained_guide"]

NUM_CHUNKS = 20
MAX_BAD_SHARE = 0.1
FINAL_RATE = 0.01
MAX_NORM = 100.0


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
        params: its parameters.
        losses: of every step.
        timings: seconds under ``"compile"`` and ``"fit"``.
        notes: what the guide wants known.
    """

    guide: object
    params: dict
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
    "auto_iaf": GuideSpec(_host(AutoIAFNormal, num_flows=3), 5e-3, "the host's AutoIAFNormal"),
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
        compile_seconds, draw_seconds, draws, weights = _draw(name, trained, context, settings)
        timings = dict(trained.timings, draw=draw_seconds)
        timings["compile"] += compile_seconds
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
        context.cache[name] = _train(name, context, settings, bar)
    return context.cache[name]


def _train(name: str, context: Context, settings: Settings, bar) -> Trained:
    """Fit a guide with Adam under a cosine decay, skipping steps that are not finite."""
    bar.reset(total=settings.num_steps)
    spec = GUIDES[name]
    guide = spec.build(context.model)
    rate = settings.learning_rate or spec.learning_rate
    schedule = optax.cosine_decay_schedule(rate, settings.num_steps, FINAL_RATE)
    svi = SVI(
        context.model,
        guide,
        optax_to_numpyro(optax.chain(optax.clip_by_global_norm(MAX_NORM), optax.adam(schedule))),
        Trace_ELBO(num_particles=settings.num_particles),
    )
    start = time.perf_counter()
    state = svi.init(context.rng_key(name), *context.args, **context.kwargs)
    size = -(-settings.num_steps // NUM_CHUNKS)
    advance = jax.jit(_chunk_fn(svi, context, size)).lower(state, size).compile()
    compiled = time.perf_counter()
    losses = []
    for done in range(0, settings.num_steps, size):
        count = min(size, settings.num_steps - done)
        state, chunk = advance(state, count)
        losses.append(np.asarray(chunk)[:count])
        bar.update(count)
        _check_losses(np.concatenate(losses))
    fitted = time.perf_counter()
    trained = Trained(
        guide,
        svi.get_params(state),
        np.concatenate(losses),
        {"compile": compiled - start, "fit": fitted - compiled},
        _start_notes(guide),
    )
    return _as_gaussian(trained, context) if name == "auto_laplace" else trained


def _chunk_fn(svi: SVI, context: Context, size: int) -> Callable:
    """A function of (state, count) that takes ``count <= size`` steps and records the losses."""

    def chunk(state, count):
        def step(i, carry):
            state, losses = carry
            state, loss = svi.stable_update(state, *context.args, **context.kwargs)
            return state, losses.at[i].set(loss)

        return lax.fori_loop(0, count, step, (state, jnp.zeros(size)))

    return chunk


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
    return Trained(guide, params, trained.losses, timings, trained.notes)


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
