"""Chains of a kernel of the host, one after the other in this process."""

import time
from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro.infer import NUTS
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

from .batching import log_joint
from .budget import Deadline
from .context import Context
from .errors import FitError
from .results import MethodResult
from .settings import Settings

__all__ = ["RecordingNUTS", "by_chain", "deterministic", "sample_chains"]

MIN_TIMED = 10


class RecordingNUTS(NUTS):
    """The host's NUTS with the statistics of its last transition in ``last_stats``."""

    def sample(self, params):
        """One transition; see :class:`pyro.infer.NUTS`."""
        self._energy, self._diverged, self._accepts = float("nan"), False, []
        params = super().sample(params)
        accepts = self._accepts or [float("nan")]
        self.last_stats = {
            "diverging": self._diverged,
            "energy": self._energy,
            "acceptance_rate": float(np.mean(accepts)),
            "num_steps": len(self._accepts),
        }
        return params

    def _sample_r(self, name):
        r, r_unscaled = super()._sample_r(name)
        _, potential_energy, _ = self._fetch_from_cache()
        self._energy = float(self._kinetic_energy(r_unscaled) + potential_energy)
        return r, r_unscaled

    def _build_basetree(self, *args):
        tree = super()._build_basetree(*args)
        self._accepts.append(float(tree.sum_accept_probs))
        self._diverged = self._diverged or bool(tree.diverging)
        return tree


def sample_chains(
    name: str,
    build: Callable[[], MCMCKernel],
    context: Context,
    settings: Settings,
    bar,
    *,
    stats: Callable[[MCMCKernel], dict],
    initial: dict | None = None,
    transforms: dict | None = None,
) -> tuple[MethodResult, dict]:
    """Warm up and sample chain by chain.

    Args:
        name: of the method.
        build: gives a kernel of the host for each chain.
        context: model and data.
        settings: budgets; a budget of time is shared evenly among the chains.
        bar: progress bar, in steps.
        stats: statistics of a kernel's last transition.
        initial: unconstrained starts, site -> tensor ``(chain,) + shape``; else the kernel's own.
        transforms: site -> transform to the unconstrained space; else the kernel's own.

    Returns:
        The result without draws, and the draws, site -> tensor ``(chain * draw,) + shape``.
    """
    bar.reset(total=settings.num_chains * (settings.num_warmup + settings.num_samples))
    share = settings.time_budget and settings.time_budget / settings.num_chains
    times = {"compile": 0.0, "fit": 0.0, "draw": 0.0}
    chains, found = [], []
    for chain in range(settings.num_chains):
        start = None if initial is None else {site: v[chain] for site, v in initial.items()}
        kernel, deadline = build(), Deadline(settings.num_samples, share, MIN_TIMED)
        with pyro.validation_enabled(False):
            draws, recorded = _run_chain(
                kernel, context, settings, start, deadline, bar, times, stats
            )
        maps = kernel.transforms if transforms is None else transforms
        kernel.cleanup()
        chains.append({k: maps[k].inv(v) if k in maps else v for k, v in draws.items()})
        found.append(recorded)
    size = min(len(recorded) for recorded in found)
    values = {site: torch.cat([chain[site][:size] for chain in chains]) for site in chains[0]}
    result = MethodResult(name, "mcmc", timings=times, settings=settings.to_dict())
    result.sample_stats = {
        key: np.array([[step[key] for step in chain[:size]] for chain in found])
        for key in found[0][0]
    }
    result.notes = deadline.note(times["fit"] / settings.num_chains, size)
    return result, values


def _run_chain(kernel, context, settings, start, deadline, bar, times, stats):
    """The draws of one chain, site -> tensor ``(draw,) + shape``, and their statistics."""
    last = time.perf_counter()
    if start is not None:
        kernel.initial_params = start
    kernel.setup(settings.num_warmup, *context.args, **context.kwargs)
    params = kernel.initial_params
    last = _lap(times, "compile", last)
    deadline.start()
    for _ in range(settings.num_warmup):
        params = kernel.sample(params)
        bar.update(1)
    kernel.end_warmup()
    last = _lap(times, "fit", last)
    draws, recorded = [], []
    while not deadline.over(len(draws)):
        params = kernel.sample(params)
        draws.append(params)
        recorded.append(stats(kernel))
        bar.update(1)
    _lap(times, "draw", last)
    return {site: torch.stack([p[site].detach() for p in draws]) for site in params}, recorded


def _lap(times: dict, part: str, last: float) -> float:
    now = time.perf_counter()
    times[part] += now - last
    return now


@torch.no_grad()
def deterministic(context: Context, values: dict) -> dict:
    """Deterministic sites at given draws of the latent sites."""
    return log_joint(context, values)[1]


def by_chain(values: dict, settings: Settings) -> dict[str, np.ndarray]:
    """Tensors ``(chain * draw,) + shape`` as arrays ``(chain, draw) + shape``, checked."""
    draws = {}
    for name, value in values.items():
        array = value.detach().numpy()
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            count = int(np.sum(~np.isfinite(array)))
            raise FitError(f"{count} draws of site {name!r} are not finite; try x64")
        draws[name] = array.reshape(settings.num_chains, -1, *array.shape[1:])
    return draws
