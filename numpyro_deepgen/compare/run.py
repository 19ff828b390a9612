"""Run the methods one after the other, judge them, and keep what is finished whatever happens."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from . import engine
from .comparison import Comparison
from .data import check_finite
from .errors import CompareError, ModelError
from .reference import load_reference
from .results import MethodResult, ModelSummary, Settings

__all__ = ["DEFAULT_METHODS", "compare", "resolve_methods"]

DEFAULT_METHODS = ("nuts", "auto_normal", "nsf", "neutra")


def compare(
    model: Callable,
    args: Sequence = (),
    kwargs: Mapping | None = None,
    methods: Sequence[str] = DEFAULT_METHODS,
    reference=None,
    *,
    num_samples: int = 500,
    num_warmup: int = 300,
    num_chains: int = 4,
    num_steps: int = 2000,
    num_particles: int = 8,
    num_guide_draws: int = 10000,
    learning_rate: float | None = None,
    target_accept_prob: float = 0.9,
    seed: int = 0,
    x64: bool = False,
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
        methods: names from :data:`METHODS`, run in this order.
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
        learning_rate: peak learning rate of Adam; None takes each method's default.
        target_accept_prob: of NUTS, in (0, 1).
        seed: non-negative integer.
        x64: compute in float64, for the time of this call only.
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
    )
    chosen = resolve_methods(methods)
    kwargs = dict(kwargs or {})
    check_finite({f"argument {i}": value for i, value in enumerate(args)} | kwargs)
    with engine.session(settings):
        context = engine.make_context(model, tuple(args), kwargs, settings)
        label = name or getattr(model, "__name__", type(model).__name__)
        context.summary = replace(context.summary, name=label)
        _check_discrete(context.summary, chosen)
        comparison = Comparison(context.summary, settings, engine.HOST, versions=engine.versions())
        _set_reference(comparison, reference, chosen, reference_source)
        _run_all(comparison, context, chosen, output, progress)
    comparison.judge()
    if output is not None:
        comparison.save(output, plots and any(r.error is None for r in comparison.results))
    return comparison


def resolve_methods(methods: Sequence[str]) -> list[str]:
    """The methods without repeats, or :class:`CompareError` with the close matches."""
    if isinstance(methods, str):
        methods = methods.split(",")
    chosen = list(dict.fromkeys(method.strip() for method in methods if method.strip()))
    if not chosen:
        raise CompareError(f"methods must name at least one of {', '.join(engine.METHODS)}")
    for method in chosen:
        if method not in engine.METHODS:
            close = difflib.get_close_matches(method, engine.METHODS, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "there is no such method;"
            known = ", ".join(engine.METHODS)
            raise CompareError(f"unknown method {method!r}: {hint} choose from {known}")
    return chosen


def _check_discrete(summary: ModelSummary, chosen: Sequence[str]) -> None:
    """Refuse methods that cannot cover the model's discrete latent sites."""
    if not summary.discrete:
        return
    refused = [name for name in chosen if not engine.METHODS[name].discrete]
    if refused:
        able = [name for name, method in engine.METHODS.items() if method.discrete]
        raise ModelError(
            f"{', '.join(refused)} cannot cover the discrete latent sites "
            f"{', '.join(summary.discrete)}: marginalise them out of the model by hand, or use "
            f"only methods that can enumerate them ({', '.join(able)})"
        )


def _set_reference(comparison: Comparison, reference, chosen, source: str | None) -> None:
    if reference is None:
        reference = "nuts" if "nuts" in chosen else "none"
    if isinstance(reference, str) and reference == "none":
        return
    if isinstance(reference, str) and reference in engine.METHODS:
        if reference not in chosen or engine.METHODS[reference].kind != "mcmc":
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
        for name in chosen:
            comparison.add(_run_one(name, context, comparison.settings, progress))
            if output is not None:
                comparison.save(output, plots=False)
    except KeyboardInterrupt:
        comparison.interrupted = True


def _run_one(name: str, context, settings: Settings, progress: bool) -> MethodResult:
    """One method; whatever it raises, short of an interrupt, becomes its row's error."""
    method = engine.METHODS[name]
    with _bar(name, progress) as bar:
        try:
            return method.run(context, settings, bar)
        except Exception as error:
            message = " ".join(str(error).split()) or type(error).__name__
            return MethodResult(name, method.kind, error=f"{type(error).__name__}: {message[:300]}")


@contextmanager
def _bar(name: str, progress: bool):
    """A progress bar that the method sizes itself."""
    bar = tqdm(total=0, desc=name.ljust(11), disable=not progress, leave=True)
    try:
        yield bar
    finally:
        bar.close()
