"""NUTS: plain, through a trained flow (NeuTra), and in turns with a trained flow's proposals."""

from collections.abc import Callable
from dataclasses import replace

from numpyro.infer import NUTS
from numpyro.infer.reparam import NeuTraReparam

from ..infer import FlowIndependence
from .chains import HMC_STATS, sample_chains
from .context import Context
from .engine_guides import trained_guide
from .guide_specs import Trained
from .results import MethodResult
from .settings import Settings

__all__ = ["run_flow_mcmc", "run_kernel", "run_neutra", "run_nuts"]

FLOW_STATS = {
    "diverging": "diverging",
    "acceptance_rate": "inner.accept_prob",
    "num_steps": "num_steps",
    "proposal_acceptance": "accept_prob",
}


def run_nuts(context: Context, settings: Settings, bar) -> MethodResult:
    """The host's NUTS on the model.

    Args:
        context: model and data.
        settings: budgets; every chain takes ``num_warmup`` and then ``num_samples`` steps.
        bar: progress bar, advanced once a step.
    """
    kernel = NUTS(context.model, target_accept_prob=settings.target_accept_prob)
    return sample_chains("nuts", kernel, context, settings, bar, HMC_STATS)


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
        neutra = NeuTraReparam(trained.guide, trained.params)
        model = neutra.reparam(context.model)
        kernel = NUTS(model, target_accept_prob=settings.target_accept_prob)
        result = sample_chains(name, kernel, context, part, bar, HMC_STATS)
        result.draws = {k: v for k, v in result.draws.items() if not k.endswith("_shared_latent")}
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
        inner = NUTS(context.model, target_accept_prob=settings.target_accept_prob)
        kernel = FlowIndependence(trained.guide, trained.params, inner)
        result = sample_chains(name, kernel, context, part, bar, FLOW_STATS)
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
        kernel = factory(context.model)
        return sample_chains(name, kernel, context, settings, bar, HMC_STATS, together=False)

    return run


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
