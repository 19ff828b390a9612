"""Run the methods one after the other, judge them, and keep what is finished whatever happens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from . import engine
from .calibration import calibrate, check_simulations
from .comparison import Comparison
from .data import check_finite
from .errors import CompareError, ModelError
from .method_names import DEFAULT_METHODS, bind_methods, resolve_methods
from .predictive import predictive_checks
from .progress import progress_bar
from .reference import load_reference
from .results import Method, MethodResult, ModelSummary
from .settings import Settings

__all__ = ["compare"]


def compare(
    model: Callable,
    args: Sequence = (),
    kwargs: Mapping | None = None,
    methods: str | Sequence = DEFAULT_METHODS,
    reference=None,
    *,
    num_samples: int = 500,
    num_warmup: int = 300,
    num_chains: int = 4,
    num_steps: int = 2000,
    num_particles: int = 8,
    num_guide_draws: int = 10000,
    learning_rate: float | str | None = None,
    target_accept_prob: float = 0.9,
    seed: int = 0,
    x64: bool = False,
    time_budget: float | None = None,
    sbc: int = 0,
    ppc: bool = False,
    output: str | Path | None = None,
    plots: bool = True,
    progress: bool = True,
    name: str | None = None,
    reference_source: str | None = None,
) -> Comparison:
    r"""Run SVI guides and MCMC on one model and say which to trust.

    Args:
        model: a model of the host; its latent sites are compared.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        methods: names from :data:`METHODS`, ``"module:object"`` of your own, or pairs of a name and
            a function of the model that gives a guide or a kernel of the host (a class of guides
            or kernels is one), run in this order.
        reference: ``"nuts"`` or another MCMC method among ``methods`` (its run becomes the
            reference), ArviZ InferenceData, the path of a NetCDF file of it, a mapping site ->
            array ``(chain, draw) + event_shape`` or ``(draw,) + event_shape``, or ``"none"``.
            None takes the nuts run where there is one.
        num_samples: draws a chain.
        num_warmup: warm-up steps a chain.
        num_chains: chains of the MCMC methods.
        num_steps: optimisation steps of a guide.
        num_particles: ELBO particles a step.
        num_guide_draws: independent draws of a guide.
        learning_rate: peak learning rate of Adam; ``"auto"`` finds it by short trials; None takes
            each method's default.
        target_accept_prob: of NUTS, in (0, 1).
        seed: non-negative integer.
        x64: compute in float64, for the time of this call only.
        time_budget: seconds that each method gets after compilation, in place of the numbers of
            steps and draws: methods at equal cost.
        sbc: number of data sets, drawn from the model itself, on which each method is run again
            for simulation-based calibration; 0 for none, else at least 10.
        ppc: whether to check the posterior predictive draws of each method against the data.
        output: directory to which results are written as each method finishes.
        plots: whether ``output`` gets PNG files.
        progress: whether to show a bar a method.
        name: the model's name in the report; its ``__name__`` by default.
        reference_source: what to call the reference in the report.

    Returns:
        A :class:`Comparison`. A method that fails is a row with its error; an interrupt
        (``KeyboardInterrupt``) keeps what is finished and sets ``interrupted``.

    Raises:
        CompareError: for an unknown method or a setting out of range.
        DataError: for data or reference draws that are missing, not finite, or do not fit.
        ModelError: for a model without latent sites, with discrete ones a method cannot cover, or
            without a finite log density to start from.

    """
    settings = Settings(
        num_samples=num_samples,
        num_warmup=num_warmup,
        num_chains=num_chains,
        num_steps=num_steps,
        num_particles=num_particles,
        num_guide_draws=num_guide_draws,
        learning_rate=learning_rate,
        target_accept_prob=target_accept_prob,
        seed=seed,
        x64=x64,
        time_budget=time_budget,
    )
    check_simulations(sbc)
    chosen = resolve_methods(methods)
    kwargs = dict(kwargs or {})
    check_finite({f"argument {i}": value for i, value in enumerate(args)} | kwargs)
    with engine.session(settings):
        context = engine.make_context(model, tuple(args), kwargs, settings)
        label = name or getattr(model, "__name__", type(model).__name__)
        context.summary = replace(context.summary, name=label)
        bound = bind_methods(chosen, model)
        _check_discrete(context.summary, bound)
        comparison = Comparison(context.summary, settings, engine.HOST, versions=engine.versions())
        _set_reference(comparison, reference, bound, reference_source)
        _run_all(comparison, context, bound, output, progress)
        if not comparison.interrupted:
            _check_fit(comparison, context, bound, sbc, ppc, progress)
    comparison.judge()
    if output is not None:
        comparison.save(output, plots and any(r.error is None for r in comparison.results))
    return comparison


def _check_discrete(summary: ModelSummary, chosen: Mapping[str, Method]) -> None:
    """Refuse methods that cannot cover the model's discrete latent sites."""
    if not summary.discrete:
        return
    refused = [name for name, method in chosen.items() if not method.discrete]
    if refused:
        able = [name for name, method in engine.METHODS.items() if method.discrete]
        raise ModelError(
            f"{', '.join(refused)} cannot cover the discrete latent sites "
            f"{', '.join(summary.discrete)}: marginalise them out of the model by hand, or use "
            f"only methods that can enumerate them ({', '.join(able)})"
        )


def _set_reference(
    comparison: Comparison, reference, chosen: Mapping[str, Method], source: str | None
) -> None:
    if reference is None:
        reference = "nuts" if "nuts" in chosen else "none"
    if isinstance(reference, str) and reference == "none":
        return
    if isinstance(reference, str) and (reference in engine.METHODS or reference in chosen):
        if reference not in chosen or chosen[reference].kind != "mcmc":
            raise CompareError(
                f"reference {reference!r} must be an MCMC method among those run "
                f"({', '.join(chosen)})"
            )
        comparison.reference_method = reference
        return
    comparison.reference = load_reference(reference, comparison.model, source)


def _run_all(comparison: Comparison, context, chosen, output, progress: bool) -> None:
    if output is not None:
        Path(output).mkdir(parents=True, exist_ok=True)
    try:
        for method in chosen.values():
            comparison.add(_run_one(method, context, comparison.settings, progress))
            if output is not None:
                comparison.save(output, plots=False)
    except KeyboardInterrupt:
        comparison.interrupted = True


def _run_one(method: Method, context, settings: Settings, progress: bool) -> MethodResult:
    """One method; whatever it raises, short of an interrupt, becomes its row's error."""
    with progress_bar(method.name, progress) as bar:
        try:
            return method.run(context, settings, bar)
        except Exception as error:
            message = " ".join(str(error).split()) or type(error).__name__
            text = f"{type(error).__name__}: {message[:300]}"
            return MethodResult(method.name, method.kind, error=text)


def _check_fit(comparison, context, chosen, sbc: int, ppc: bool, progress: bool) -> None:
    """Posterior predictive checks and simulation-based calibration, where asked for."""
    try:
        if ppc:
            comparison.predictive = predictive_checks(comparison, context, progress)
        if sbc:
            comparison.calibration = calibrate(comparison, context, chosen, sbc, progress)
    except KeyboardInterrupt:
        comparison.interrupted = True
