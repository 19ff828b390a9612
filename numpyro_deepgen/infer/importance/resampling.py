"""Importance resampling: exact weights for the draws of a trained guide."""

import warnings
from collections.abc import Callable
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array, random
from numpyro import handlers
from numpyro.infer.util import get_importance_trace

from ..._numerics.checks import check_positive_int
from ..._numerics.importance import MAX_KHAT, MIN_PROPOSALS, summarize_weights
from ..arguments import check_arguments, check_callables
from .result import ImportanceResult, choose
from .sites import SiteKind, check_plates, check_sites

__all__ = ["importance_resample"]


def importance_resample(
    rng_key: Array,
    model: Callable,
    guide: Callable,
    params: dict,
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
    in detail; the estimate of the evidence is unbiased. Draws are made and scored by ``jax.vmap``,
    chunk by chunk in one compiled program.

    Args:
        rng_key: key of the draws and of the choice.
        model: a NumPyro model. Sites the guide leaves out must not be latent.
        guide: a trained guide of any kind.
        params: parameters of guide and model, from ``SVI.get_params``.
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
        >>> import numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.0)
        >>> def guide():
        ...     numpyro.sample("z", dist.Normal(0.4, 0.9))
        >>> result = importance_resample(random.key(0), model, guide, {}, num_samples=100)
        >>> result.samples["z"].shape, result.khat < 0.7
        ((100,), True)
        >>> exact = dist.Normal(0.0, 2.0**0.5).log_prob(1.0).item()
        >>> abs(result.log_evidence - exact) < 5 * result.log_evidence_error
        True

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling.
    """
    check_callables(model=model, guide=guide)
    arguments = check_arguments("", args, kwargs)
    num_samples = check_positive_int("num_samples", num_samples)
    num_proposals = check_positive_int("num_proposals", num_proposals, minimum=MIN_PROPOSALS)
    chunk_size = min(check_positive_int("chunk_size", chunk_size), num_proposals)
    draw_key, choice_key = random.split(rng_key)
    with handlers.block():
        names = _latent_names(draw_key, model, guide, params, arguments)
        draw = jax.jit(jax.vmap(_weighted_draw(model, guide, params, arguments, names)))
        num_chunks = -(-num_proposals // chunk_size)
        chunks = [
            # off the device, which then holds one chunk
            jax.tree.map(np.asarray, draw(random.split(key, chunk_size)))
            for key in random.split(draw_key, num_chunks)
        ]
    draws, log_weights = zip(*chunks, strict=True)
    proposals = {n: np.concatenate([part[n] for part in draws])[:num_proposals] for n in names}
    proposals = {name: jnp.asarray(value) for name, value in proposals.items()}
    log_weights = np.concatenate([_total(terms) for terms in log_weights])[:num_proposals]
    summary = summarize_weights(log_weights)
    if summary.khat > MAX_KHAT:
        warnings.warn(
            f"Pareto k-hat of the weights is {summary.khat:.2f}, above {MAX_KHAT}: the guide is "
            "too far from the posterior for weights to mend; train it longer or use a richer one.",
            stacklevel=2,
        )
    samples = choose(choice_key, proposals, summary.smoothed_log_weights, num_samples, replacement)
    return ImportanceResult(samples, proposals, log_weights, **asdict(summary))


def _traces(
    rng_key: Array, model: Callable, guide: Callable, params: dict, arguments: tuple[tuple, dict]
) -> tuple[dict, dict]:
    """Scored traces of the model on a draw of the guide, and of the guide."""
    guide_key, model_key = random.split(rng_key)
    seeded = (handlers.seed(model, model_key), handlers.seed(guide, guide_key))
    return get_importance_trace(*seeded, *arguments, params)


def _drawn(trace: dict) -> dict[str, dict]:
    sites = trace.items()
    return {n: s for n, s in sites if s["type"] == "sample" and not s["is_observed"]}


def _latent_names(
    rng_key: Array, model: Callable, guide: Callable, params: dict, arguments: tuple[tuple, dict]
) -> list[str]:
    """Names of the latent sites of one run, or raise if the pair has no importance weights."""
    traces = _traces(rng_key, model, guide, params, arguments)
    check_plates(
        [
            (name, site["args"][0], site["args"][1] or site["args"][0])
            for trace in traces
            for name, site in trace.items()
            if site["type"] == "plate"
        ]
    )
    latent, drawn = (_drawn(trace) for trace in traces)
    check_sites(_kinds(latent), _kinds(drawn))
    return list(latent)


def _kinds(sites: dict[str, dict]) -> dict[str, SiteKind]:
    return {
        name: SiteKind(
            bool(site["fn"].has_enumerate_support),
            bool(site["infer"].get("enumerate")),
            bool(site["infer"].get("is_auxiliary")),
            not _is_delta(site["fn"]),
        )
        for name, site in sites.items()
    }


def _is_delta(fn: dist.Distribution) -> bool:
    """Whether the draw is a function of other draws."""
    while isinstance(fn, (dist.Independent, dist.MaskedDistribution, dist.ExpandedDistribution)):
        fn = fn.base_dist
    return isinstance(fn, dist.Delta)


def _weighted_draw(
    model: Callable,
    guide: Callable,
    params: dict,
    arguments: tuple[tuple, dict],
    names: list[str],
) -> Callable:
    """A function of a key that gives a draw by site, and the terms of its log weight."""

    def draw(rng_key: Array) -> tuple[dict[str, Array], list[Array]]:
        model_trace, guide_trace = _traces(rng_key, model, guide, params, arguments)
        terms = _terms(model_trace) + [-term for term in _terms(guide_trace)]
        return {name: model_trace[name]["value"] for name in names}, terms

    return draw


def _terms(trace: dict) -> list[Array]:
    """Log density of each site."""
    return [jnp.sum(site["log_prob"]) for site in trace.values() if site["type"] == "sample"]


def _total(terms: list[np.ndarray]) -> np.ndarray:
    """Sum over sites in double precision, whatever that of the host is."""
    return np.sum([np.asarray(term, np.float64) for term in terms], axis=0)
