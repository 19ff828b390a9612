"""Importance resampling: exact weights for the draws of a trained guide."""

import warnings
from collections.abc import Callable
from dataclasses import asdict

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ..._numerics.importance import MAX_KHAT, MIN_PROPOSALS, summarize_weights
from .._random_state import unmoved_random_state
from .._vectorize import drawn_sites, is_delta, plate_nesting_if_vectorizable, scored_traces
from ..arguments import check_arguments, check_callables
from .result import ImportanceResult, choose
from .sites import SiteKind, check_plates, check_sites

__all__ = ["importance_resample"]


@torch.no_grad()
def importance_resample(
    model: Callable,
    guide: Callable,
    num_samples: int = 1000,
    *,
    num_proposals: int = 10_000,
    replacement: bool = True,
    args: tuple = (),
    kwargs: dict | None = None,
    chunk_size: int = 500,
) -> ImportanceResult:
    r"""Weigh draws of a guide by the model's density, and choose among them.

    .. math::
        z_k \sim q, \qquad \log w_k = \log p(x, z_k) - \log q(z_k), \qquad
        \log \hat p(x) = \log \frac1K \sum_k w_k

    The chosen draws follow the posterior as far as the weights allow, however wrong the guide is
    in detail; the estimate of the evidence is unbiased. Draws are made and scored in an outermost
    plate where model and guide allow it, else one by one.

    Args:
        model: a Pyro model. Sites the guide leaves out must not be latent.
        guide: a trained guide of any kind, with its parameters where the host keeps them.
        num_samples: number of draws chosen.
        num_proposals: number ``K`` of draws of the guide, at least 25.
        replacement: whether a draw may be chosen more than once.
        args: positional arguments of model and guide.
        kwargs: keyword arguments of model and guide.
        chunk_size: number of draws scored at a time, which bounds the memory.

    Returns:
        :class:`ImportanceResult`. A warning says if its k-hat is above 0.7.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range, sites of model and guide do not match, a latent
            site is enumerated, a plate is subsampled, or a weight is NaN or infinite.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))
        >>> def guide():
        ...     pyro.sample("z", dist.Normal(0.4, 0.9))
        >>> result = importance_resample(model, guide, num_samples=100)
        >>> result.samples["z"].shape, result.khat < 0.7
        (torch.Size([100]), True)
        >>> exact = dist.Normal(0.0, 2.0**0.5).log_prob(torch.tensor(1.0)).item()
        >>> abs(result.log_evidence - exact) < 5 * result.log_evidence_error
        True

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling.
    """
    check_callables(model=model, guide=guide)
    arguments = check_arguments("", args, kwargs)
    num_samples = check_positive_int("num_samples", num_samples)
    num_proposals = check_positive_int("num_proposals", num_proposals, minimum=MIN_PROPOSALS)
    chunk_size = check_positive_int("chunk_size", chunk_size)
    with poutine.block():
        shapes = _latent_shapes(model, guide, *arguments)
        nesting = plate_nesting_if_vectorizable(model, guide, *arguments)
        step = 1 if nesting is None else chunk_size
        chunks = [
            _weighted_draws(
                model, guide, arguments, shapes, nesting, min(step, num_proposals - done)
            )
            for done in range(0, num_proposals, step)
        ]
    draws, log_weights = zip(*chunks, strict=True)
    proposals = {name: torch.cat([part[name] for part in draws]) for name in shapes}
    log_weights = torch.cat(log_weights).cpu().numpy()
    summary = summarize_weights(log_weights)
    if summary.khat > MAX_KHAT:
        warnings.warn(
            f"Pareto k-hat of the weights is {summary.khat:.2f}, above {MAX_KHAT}: the guide is "
            "too far from the posterior for weights to mend; train it longer or use a richer one.",
            stacklevel=3,  # past the decorator
        )
    samples = choose(proposals, summary.smoothed_log_weights, num_samples, replacement)
    return ImportanceResult(samples, proposals, log_weights, **asdict(summary))


def _latent_shapes(
    model: Callable, guide: Callable, args: tuple, kwargs: dict
) -> dict[str, torch.Size]:
    """Shapes of the latent sites of one run, or raise if the pair has no importance weights."""
    with unmoved_random_state():
        guide_trace, model_trace = scored_traces(model, guide, args, kwargs)
    traces = (model_trace, guide_trace)
    check_plates([plate for trace in traces for plate in _plates(trace)])
    latent = {n: s for n, s in drawn_sites(model_trace).items() if not s["is_observed"]}
    drawn = {n: s for n, s in drawn_sites(guide_trace).items() if not s["is_observed"]}
    check_sites(_kinds(latent), _kinds(drawn))
    return {name: site["value"].shape for name, site in latent.items()}


def _plates(trace: poutine.Trace) -> list[tuple[str, int, int]]:
    frames = [f for site in drawn_sites(trace).values() for f in site["cond_indep_stack"]]
    return [(f.name, f.full_size, f.size) for f in frames if f.full_size is not None]


def _kinds(sites: dict[str, dict]) -> dict[str, SiteKind]:
    return {
        name: SiteKind(
            bool(getattr(site["fn"], "has_enumerate_support", False)),
            bool(site["infer"].get("enumerate")),
            bool(site["infer"].get("is_auxiliary")),
            not is_delta(site["fn"]),
        )
        for name, site in sites.items()
    }


def _weighted_draws(
    model: Callable,
    guide: Callable,
    arguments: tuple[tuple, dict],
    shapes: dict[str, torch.Size],
    nesting: int | None,
    count: int,
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws by site and their log weights, all at once in a plate unless ``nesting`` is None."""
    if nesting is not None:
        plate = pyro.plate("_particles", count, dim=-1 - nesting)
        model, guide = plate(model), plate(guide)
    guide_trace, model_trace = scored_traces(model, guide, *arguments)
    nodes = model_trace.nodes
    draws = {name: nodes[name]["value"].reshape((count, *shape)) for name, shape in shapes.items()}
    return draws, _log_density(model_trace, count) - _log_density(guide_trace, count)


def _log_density(trace: poutine.Trace, count: int) -> Tensor:
    """Log density of each draw, summed in double precision."""
    terms = [site["log_prob"].double() for site in drawn_sites(trace).values()]
    return sum(term.reshape(count, -1).sum(-1) for term in terms)
