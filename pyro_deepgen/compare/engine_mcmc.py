"""NUTS: plain, through a trained flow (NeuTra), and in turns with a trained flow's proposals."""

import time
from collections.abc import Callable
from dataclasses import replace

import pyro
import torch
from pyro.infer.reparam import NeuTraReparam

from ..infer import FlowIndependence
from ._potential import make_potential
from .chains import RecordingNUTS, by_chain, deterministic, sample_chains
from .context import Context
from .engine_guides import trained_guide
from .guide_specs import Trained
from .results import MethodResult
from .settings import Settings

__all__ = ["run_flow_mcmc", "run_kernel", "run_neutra", "run_nuts"]


def run_nuts(context: Context, settings: Settings, bar) -> MethodResult:
    """The host's NUTS on the model.

    Args:
        context: model and data.
        settings: budgets; every chain takes ``num_warmup`` and then ``num_samples`` steps.
        bar: progress bar, advanced once a step.
    """
    result, values = _nuts("nuts", context.model, context, settings, bar)
    return _finished(result, values, context, settings)


def run_neutra(name: str, guide_name: str) -> Callable:
    """The runner of the host's NUTS on the model warped by a trained guide (NeuTraReparam).

    The guide comes from this comparison's own run of it where there is one, else it is trained
    here; either way its time is part of this method's. Under a budget of time guide and chains get
    half of it each. The inverse autoregressive flow is the natural one: NUTS needs the flow's
    forward direction only, which is one cheap pass.

    Args:
        name: of the method.
        guide_name: of the flow guide.

    References:
        Hoffman et al., "NeuTra-lizing bad geometry in Hamiltonian Monte Carlo using neural
        transport", 2019.
    """

    def run(context: Context, settings: Settings, bar) -> MethodResult:
        part = _half(settings)
        trained = trained_guide(guide_name, context, part, bar)
        with pyro.get_param_store().scope(trained.params):
            neutra = NeuTraReparam(trained.guide.requires_grad_(False))
            result, values = _nuts(name, neutra.reparam(context.model), context, part, bar)
            values = _mapped_back(neutra, values, context)
            result = _finished(result, values, context, settings)
        return _with_guide(result, trained, guide_name, settings)

    return run


def run_flow_mcmc(name: str, guide_name: str) -> Callable:
    """The runner of a trained guide's proposals in turns with the host's NUTS.

    Args:
        name: of the method.
        guide_name: of the flow guide, whose time is part of this method's.
    """

    def run(context: Context, settings: Settings, bar) -> MethodResult:
        part = _half(settings)
        trained = trained_guide(guide_name, context, part, bar)
        with pyro.get_param_store().scope(trained.params):
            result, values = _nuts(name, context.model, context, part, bar, trained.guide)
            result = _finished(result, values, context, settings)
        rate = result.sample_stats["proposal_acceptance"].mean()
        result.notes.append(f"{rate:.0%} of the proposals of {guide_name} were accepted")
        return _with_guide(result, trained, guide_name, settings)

    return run


def run_kernel(name: str, factory: Callable) -> Callable:
    """The runner of a user's kernel, its chains in turn.

    Args:
        name: of the method.
        factory: model -> kernel of the host.
    """

    def run(context: Context, settings: Settings, bar) -> MethodResult:
        context.set_seed(name)
        result, values = sample_chains(
            name, lambda: factory(context.model), context, settings, bar, stats=_own_stats
        )
        return _finished(result, values, context, settings)

    return run


def _own_stats(kernel) -> dict:
    """What the host's protocol says of a kernel's last transition."""
    found = kernel.diagnostics() or {}
    if "divergences" not in found:
        return {}
    count = len(found["divergences"])
    new = count > getattr(kernel, "_counted_divergences", 0)
    kernel._counted_divergences = count
    return {"diverging": new}


def _nuts(name: str, model, context: Context, settings: Settings, bar, guide=None):
    """Chains of NUTS, alone or in turns with the proposals of a guide."""
    context.set_seed(name)
    start = time.perf_counter()
    initial, potential_fn, transforms, notes = make_potential(model, context, settings)
    prepared = time.perf_counter() - start

    def build():
        rate = settings.target_accept_prob
        nuts = RecordingNUTS(potential_fn=potential_fn, target_accept_prob=rate)
        return nuts if guide is None else FlowIndependence(guide, nuts)

    result, values = sample_chains(
        name,
        build,
        context,
        settings,
        bar,
        stats=_nuts_stats if guide is None else _flow_stats,
        initial=initial,
        transforms=transforms,
    )
    result.timings["compile"] += prepared
    result.notes += notes
    return result, values


def _nuts_stats(kernel) -> dict:
    return kernel.last_stats


def _flow_stats(kernel: FlowIndependence) -> dict:
    found = {k: v for k, v in kernel.inner.last_stats.items() if k != "energy"}
    # the gradient anew after the proposals
    found["num_steps"] += 1
    return found | {"proposal_acceptance": kernel.accept_prob}


def _mapped_back(neutra: NeuTraReparam, values: dict, context: Context) -> dict:
    """Draws of the warped model as values of the model's sites."""
    (latent,) = values.values()
    with torch.no_grad():
        plates = (1,) * context.max_plate_nesting
        values = neutra.transform_sample(latent.reshape(len(latent), *plates, latent.shape[-1]))
    shapes = context.summary.latent_shapes
    return {name: values[name].reshape(-1, *shape) for name, shape in shapes.items()}


def _finished(result: MethodResult, values: dict, context: Context, settings: Settings):
    """The result with its draws and deterministic sites."""
    start = time.perf_counter()
    # with discrete sites the rest of the model is random still
    found = {} if context.summary.discrete else deterministic(context, values)
    result.draws = by_chain(values | found, settings)
    result.timings["draw"] += time.perf_counter() - start
    return result


def _half(settings: Settings) -> Settings:
    """Half of a budget of time: for the guide, and for the chains."""
    budget = settings.time_budget
    return settings if budget is None else replace(settings, time_budget=budget / 2)


def _with_guide(
    result: MethodResult, trained: Trained, guide_name: str, settings: Settings
) -> MethodResult:
    """The result with the losses and the time of the guide that it stands on."""
    for part, seconds in trained.timings.items():
        result.timings[part] = result.timings.get(part, 0.0) + seconds
    result.losses = trained.losses
    result.settings = settings.to_dict()
    result.notes.append(f"through the trained {guide_name} guide, whose time is counted here")
    return result
