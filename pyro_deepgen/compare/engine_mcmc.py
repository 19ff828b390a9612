"""NUTS, plain and through a trained flow (NeuTra), one chain after the other in this process."""

import time
import warnings
from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro.infer import MCMC, NUTS
from pyro.infer.mcmc.util import initialize_model
from pyro.infer.reparam import NeuTraReparam

from .batching import log_joint
from .context import Context
from .engine_guides import Trained, trained_guide
from .errors import FitError
from .results import MethodResult, Settings

__all__ = ["run_neutra", "run_nuts"]

NUM_TESTED = 4
TRACE_TOLERANCE = 1e-3


class _RecordingNUTS(NUTS):
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


def run_nuts(context: Context, settings: Settings, bar) -> MethodResult:
    """The host's NUTS on the model.

    Args:
        context: model and data.
        settings: budgets; every chain takes ``num_warmup`` and then ``num_samples`` steps.
        bar: progress bar, advanced once a step.
    """
    result, values = _sample("nuts", context.model, context, settings, bar)
    start = time.perf_counter()
    # With discrete sites the rest of the model is random still.
    found = {} if context.summary.discrete else _deterministic(context, values)
    result.draws = _by_chain(values | found, settings)
    result.timings["draw"] += time.perf_counter() - start
    return result


@torch.no_grad()
def _deterministic(context: Context, values: dict) -> dict:
    return log_joint(context, values)[1]


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
    with pyro.get_param_store().scope(trained.store):
        neutra = NeuTraReparam(trained.guide.requires_grad_(False))
        model = neutra.reparam(context.model)
        result, values = _sample(name, model, context, settings, bar)
        start = time.perf_counter()
        (latent,) = values.values()
        with torch.no_grad():
            plates = (1,) * context.max_plate_nesting
            latent = latent.reshape(len(latent), *plates, latent.shape[-1])
            values = neutra.transform_sample(latent)
        shapes = context.summary.latent_shapes
        values = {name: values[name].reshape(-1, *shape) for name, shape in shapes.items()}
    result.draws = _by_chain(values | _deterministic(context, values), settings)
    result.timings["draw"] += time.perf_counter() - start
    return result


def _sample(name: str, model, context: Context, settings: Settings, bar):
    """The chains' statistics, and their draws: site -> ``(chain * draw,) + shape``."""
    bar.reset(total=settings.num_chains * (settings.num_warmup + settings.num_samples))
    context.set_seed(name)
    start = time.perf_counter()
    initial, potential_fn, transforms, note = _potential(model, context, settings)
    clock = {"compile": time.perf_counter() - start, "fit": 0.0, "draw": 0.0}
    chains, stats = [], []
    for chain in range(settings.num_chains):
        kernel = _RecordingNUTS(
            potential_fn=potential_fn, target_accept_prob=settings.target_accept_prob
        )
        recorder = _Recorder(bar, clock)
        mcmc = MCMC(
            kernel,
            num_samples=settings.num_samples,
            warmup_steps=settings.num_warmup,
            initial_params={site: value[chain] for site, value in initial.items()},
            transforms=transforms,
            hook_fn=recorder,
            disable_progbar=True,
        )
        with pyro.validation_enabled(False):
            mcmc.run()
        chains.append(mcmc.get_samples())
        stats.append(recorder.stats)
    values = {site: torch.cat([draws[site] for draws in chains]) for site in chains[0]}
    result = MethodResult(name, "mcmc", timings=clock, settings=settings.to_dict())
    result.sample_stats = {
        key: np.array([[step[key] for step in chain] for chain in stats]) for key in stats[0][0]
    }
    result.notes = [note] if note else []
    return result, values


class _Recorder:
    """The host's hook after every transition: statistics, the bar, and the clock."""

    def __init__(self, bar, clock: dict):
        self.bar, self.clock, self.stats = bar, clock, []
        self.last = time.perf_counter()

    def __call__(self, kernel, params, stage: str, i: int) -> None:
        now = time.perf_counter()
        warming = stage.startswith("Warmup")
        self.clock["fit" if warming else "draw"] += now - self.last
        self.last = now
        if not warming:
            self.stats.append(kernel.last_stats)
        self.bar.update(1)


def _potential(model, context: Context, settings: Settings):
    """Initial points, potential and transforms; the potential is traced if that is faithful."""
    options = {"model_args": context.args, "model_kwargs": context.kwargs}
    initial, eager, transforms, _ = initialize_model(
        model, num_chains=settings.num_chains, **options
    )
    if settings.num_chains == 1:
        initial = {site: value[None] for site, value in initial.items()}
    first = {site: value[0] for site, value in initial.items()}
    _, traced, _, _ = initialize_model(
        model,
        initial_params=first,
        jit_compile=True,
        skip_jit_warnings=True,
        **options,
    )
    if _is_faithful(traced, eager, first):
        return initial, traced, transforms, ""
    note = "the potential could not be traced: it runs uncompiled"
    return initial, eager, transforms, note


def _is_faithful(traced, eager, first: dict) -> bool:
    """Whether the traced potential equals the model's own at other points than its own."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced(first)
            for _ in range(NUM_TESTED):
                point = {site: v + torch.randn_like(v) for site, v in first.items()}
                expected, actual = eager(point), traced(point)
                if not torch.isfinite(expected):
                    continue
                if (actual - expected).abs() > TRACE_TOLERANCE * (1.0 + expected.abs()):
                    return False
    except Exception:
        return False
    return True


def _by_chain(values: dict, settings: Settings) -> dict[str, np.ndarray]:
    """Tensors ``(chain * draw,) + shape`` as arrays ``(chain, draw) + shape``, checked."""
    draws = {}
    for name, value in values.items():
        array = value.detach().numpy()
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            count = int(np.sum(~np.isfinite(array)))
            raise FitError(f"{count} draws of site {name!r} are not finite; try x64")
        draws[name] = array.reshape(settings.num_chains, -1, *array.shape[1:])
    return draws
