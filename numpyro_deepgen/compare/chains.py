"""Chains of a kernel of the host: advanced together or in turn, in compiled blocks of steps."""

import time
from operator import attrgetter

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from numpyro.infer.mcmc import MCMCKernel

from .budget import Deadline
from .context import Context
from .errors import FitError
from .results import MethodResult
from .settings import Settings

__all__ = ["HMC_STATS", "sample_chains"]

HMC_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "acceptance_rate": "accept_prob",
    "num_steps": "num_steps",
}
NUM_BLOCKS = 20
TIMED_BLOCK = 25


def sample_chains(
    name: str,
    kernel: MCMCKernel,
    context: Context,
    settings: Settings,
    bar,
    stats: dict,
    together: bool = True,
) -> MethodResult:
    """Warm up and sample; the steps run in compiled blocks, so that the bar moves.

    Args:
        name: of the method, which seeds it.
        kernel: a kernel of the host.
        context: model and data.
        settings: budgets.
        bar: progress bar, in steps.
        stats: name of a statistic -> path of a field of the kernel's state; those it has are kept.
        together: whether the kernel takes a batch of keys; else the chains run in turn.
    """
    keys = random.split(context.rng_key(name), settings.num_chains)
    batches = [keys] if together else list(keys)
    share = settings.time_budget and settings.time_budget / len(batches)
    size = -(-max(settings.num_warmup, settings.num_samples) // NUM_BLOCKS)
    size = size if share is None else min(size, TIMED_BLOCK)
    bar.reset(total=len(batches) * (settings.num_warmup + settings.num_samples))
    times = {"compile": 0.0, "fit": 0.0, "draw": 0.0}
    advance, parts = None, []
    for batch in batches:
        deadline = Deadline(settings.num_samples, share, size)
        start = time.perf_counter()
        state = kernel.init(batch, settings.num_warmup, None, context.args, context.kwargs)
        if advance is None:
            block = _block_fn(kernel, context, size, _known(stats, state))
            advance = jax.jit(block).lower(state, size).compile()
        compiled = time.perf_counter()
        deadline.start()
        state, _ = _advance(advance, state, settings.num_warmup, size, bar)
        warmed = time.perf_counter()
        parts.append(_draw(advance, state, deadline, size, bar, together))
        times["compile"] += compiled - start
        times["fit"] += warmed - compiled
        times["draw"] += time.perf_counter() - warmed
    return _result(name, kernel, context, settings, parts, times, deadline)


def _known(stats: dict, state) -> dict:
    """The statistics whose fields the state has."""
    found = {}
    for label, path in stats.items():
        try:
            found[label] = attrgetter(path)
            found[label](state)
        except AttributeError:
            del found[label]
    return found


def _result(name, kernel, context, settings, parts, times, deadline) -> MethodResult:
    start = time.perf_counter()
    shortest = min(jax.tree.leaves(part)[0].shape[1] for part in parts)
    positions, stats = jax.tree.map(
        lambda *chains: np.concatenate([chain[:, :shortest] for chain in chains]), *parts
    )
    constrain = kernel.postprocess_fn(context.args, context.kwargs)
    draws = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(constrain)))(positions))
    result = MethodResult(name, "mcmc", settings=settings.to_dict())
    result.draws = _finite({k: v for k, v in draws.items() if v.dtype.kind in "fiub"})
    result.sample_stats = stats
    result.notes = deadline.note(times["fit"] / len(parts), shortest)
    result.timings = dict(times, draw=times["draw"] + time.perf_counter() - start)
    return result


def _block_fn(kernel: MCMCKernel, context: Context, size: int, stats: dict):
    """A function of (state, count) that takes ``count <= size`` steps and records them."""

    def record(state):
        found = {name: field(state) for name, field in stats.items()}
        return getattr(state, kernel.sample_field), found

    def block(state, count):
        empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), record(state))

        def step(i, carry):
            state, buffer = carry
            state = kernel.sample(state, context.args, context.kwargs)
            buffer = jax.tree.map(lambda b, leaf: b.at[i].set(leaf), buffer, record(state))
            return state, buffer

        return lax.fori_loop(0, count, step, (state, empty))

    return block


def _advance(advance, state, total: int, size: int, bar):
    """Take ``total`` steps block by block; the records have shape ``(step, ...)``."""
    blocks = []
    for done in range(0, total, size):
        count = min(size, total - done)
        state, records = advance(state, count)
        blocks.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], records))
        bar.update(count)
    return state, blocks


def _draw(advance, state, deadline: Deadline, size: int, bar, together: bool):
    """Draw until it is over; the records have shape ``(chain, step, ...)``."""
    blocks, done = [], 0
    while not deadline.over(done):
        count = min(size, deadline.num_samples - done)
        state, found = _advance(advance, state, count, size, bar)
        blocks += found
        done += count
    records = jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)
    return jax.tree.map(lambda x: np.swapaxes(x, 0, 1) if together else x[None], records)


def _finite(draws: dict) -> dict:
    for name, value in draws.items():
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            count = int(np.sum(~np.isfinite(value)))
            raise FitError(f"{count} draws of site {name!r} are not finite; try x64")
    return draws
