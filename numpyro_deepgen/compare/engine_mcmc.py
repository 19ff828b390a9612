"""NUTS, plain and through a trained flow (NeuTra), with chains advanced together."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from numpyro.infer import NUTS
from numpyro.infer.reparam import NeuTraReparam

from .context import Context
from .engine_guides import Trained, trained_guide
from .errors import FitError
from .results import MethodResult, Settings

__all__ = ["run_neutra", "run_nuts"]

STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "acceptance_rate": "accept_prob",
    "num_steps": "num_steps",
}
NUM_CHUNKS = 20


def run_nuts(context: Context, settings: Settings, bar) -> MethodResult:
    """The host's NUTS on the model.

    Args:
        context: model and data.
        settings: budgets; every chain takes ``num_warmup`` and then ``num_samples`` steps.
        bar: progress bar, advanced once a step.
    """
    return _sample("nuts", context.model, context, settings, bar)


def run_neutra(name: str, guide_name: str) -> Callable:
    """The runner of the host's NUTS on the model warped by a trained guide (NeuTraReparam).

    The guide comes from this comparison's own run of it where there is one, else it is trained
    here; either way its time is part of this method's. The inverse autoregressive flow is the
    natural one: NUTS needs the flow's forward direction only, which is one cheap pass.

    Args:
        name: of the method.
        guide_name: of the flow guide.

    References:
        Hoffman et al., "NeuTra-lizing bad geometry in Hamiltonian Monte Carlo using neural
        transport", 2019.
    """

    def run(context: Context, settings: Settings, bar) -> MethodResult:
        trained = trained_guide(guide_name, context, settings, bar)
        result = _warped(name, trained, context, settings, bar)
        for part, seconds in trained.timings.items():
            result.timings[part] = result.timings.get(part, 0.0) + seconds
        result.losses = trained.losses
        result.notes.append(f"through the trained {guide_name} guide, whose time is counted here")
        return result

    return run


def _warped(name: str, trained: Trained, context: Context, settings: Settings, bar):
    """NUTS on the warped model, its draws mapped back to the model's sites."""
    neutra = NeuTraReparam(trained.guide, trained.params)
    result = _sample(name, neutra.reparam(context.model), context, settings, bar)
    result.draws = {k: v for k, v in result.draws.items() if not k.endswith("_shared_latent")}
    return result


def _sample(name: str, model, context: Context, settings: Settings, bar) -> MethodResult:
    """Warm up and sample; the steps run in compiled chunks, so that the bar moves."""
    bar.reset(total=settings.num_warmup + settings.num_samples)
    kernel = NUTS(model, target_accept_prob=settings.target_accept_prob)
    keys = random.split(context.rng_key(name), settings.num_chains)
    start = time.perf_counter()
    state = kernel.init(keys, settings.num_warmup, None, context.args, context.kwargs)
    size = -(-max(settings.num_warmup, settings.num_samples) // NUM_CHUNKS)
    advance = jax.jit(_chunk_fn(kernel, context, size)).lower(state, size).compile()
    constrain = jax.jit(jax.vmap(jax.vmap(kernel.postprocess_fn(context.args, context.kwargs))))
    compiled = time.perf_counter()
    state, _ = _advance(advance, state, settings.num_warmup, size, bar)
    warmed = time.perf_counter()
    state, chunks = _advance(advance, state, settings.num_samples, size, bar)
    positions, stats = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *chunks)
    draws = {k: np.asarray(v) for k, v in constrain(positions).items()}
    drawn = time.perf_counter()
    result = MethodResult(name, "mcmc", settings=settings.to_dict())
    result.draws = _finite({k: v for k, v in draws.items() if v.dtype.kind in "fiub"})
    result.sample_stats = stats
    result.timings = {
        "compile": compiled - start,
        "fit": warmed - compiled,
        "draw": drawn - warmed,
    }
    return result


def _chunk_fn(kernel: NUTS, context: Context, size: int):
    """A function of (state, count) that takes ``count <= size`` steps and records them."""

    def record(state):
        stats = {name: getattr(state, attribute) for name, attribute in STATS.items()}
        return getattr(state, kernel.sample_field), stats

    def chunk(state, count):
        empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), record(state))

        def step(i, carry):
            state, buffer = carry
            state = kernel.sample(state, context.args, context.kwargs)
            buffer = jax.tree.map(lambda b, leaf: b.at[i].set(leaf), buffer, record(state))
            return state, buffer

        return lax.fori_loop(0, count, step, (state, empty))

    return chunk


def _advance(advance, state, total: int, size: int, bar):
    """Take ``total`` steps chunk by chunk; the records have shape ``(chain, step, ...)``."""
    chunks = []
    for done in range(0, total, size):
        count = min(size, total - done)
        state, records = advance(state, count)
        chunks.append(
            jax.tree.map(lambda x, n=count: np.swapaxes(np.asarray(x)[:n], 0, 1), records)
        )
        bar.update(count)
    return state, chunks


def _finite(draws: dict) -> dict:
    for name, value in draws.items():
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            count = int(np.sum(~np.isfinite(value)))
            raise FitError(f"{count} draws of site {name!r} are not finite; try x64")
    return draws
