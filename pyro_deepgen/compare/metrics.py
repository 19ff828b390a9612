r"""Metrics of one method by itself: bounds and importance weights of guides, MCMC diagnostics.

Every metric is an :class:`~.results.Estimate`: a finite number, with its Monte Carlo error where
that matters, or None with the reason.

References:
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016, equation 8.
    Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", 2024.
    Vehtari, Gelman, Simpson, Carpenter and Buerkner, "Rank-normalization, folding, and
    localization: an improved R-hat", 2021.
    Betancourt, "Diagnosing suboptimal cotangent disintegrations in HMC", 2016 (E-BFMI).
"""

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.special import logsumexp

from .diagnostics import bfmi, ess, pareto_shape, rhat
from .results import Estimate, MethodResult, estimate
from .scalars import scalars

__all__ = ["guide_metrics", "mcmc_metrics", "own_metrics"]

GUIDE_METRICS = ("elbo", "iw_bound", "khat", "importance_ess", "importance_ess_share")
MIN_DRAWS = 25


def guide_metrics(log_weights: np.ndarray) -> dict[str, Estimate]:
    r"""ELBO, importance-weighted bound, PSIS k-hat and importance ESS of a guide's draws.

    .. math::
        \mathrm{ELBO} = \frac1K \sum_k \log w_k, \qquad
        L_K = \log \frac1K \sum_k w_k, \qquad
        \mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    Args:
        log_weights: :math:`\log w_k = \log p(x, z_k) - \log q(z_k)`, shape ``(K,)``.

    Returns:
        ``elbo``, ``iw_bound``, ``khat``, ``importance_ess``, ``importance_ess_share``.
    """
    weights = np.asarray(log_weights, np.float64).reshape(-1)
    count = weights.size
    bad = int(np.sum(~np.isfinite(weights)))
    if bad:
        nan = int(np.sum(np.isnan(weights)))
        note = f"{bad} of {count} draws have no finite importance weight ({nan} NaN)"
        return dict.fromkeys(GUIDE_METRICS, Estimate(None, None, note))
    top = logsumexp(weights)
    size = float(np.exp(2.0 * top - logsumexp(2.0 * weights)))
    out = {"elbo": estimate(weights.mean(), weights.std(ddof=1) / np.sqrt(count))}
    # Delta method: the relative variance of the mean weight is about 1 / ESS - 1 / K.
    error = np.sqrt(max(1.0 / size - 1.0 / count, 0.0))
    out["iw_bound"] = estimate(top - np.log(count), error, f"K = {count}")
    out["khat"] = _khat(weights)
    out["importance_ess"] = estimate(size, note=f"of {count} draws")
    out["importance_ess_share"] = estimate(size / count)
    return out


def _khat(weights: np.ndarray) -> Estimate:
    if weights.size < MIN_DRAWS:
        return Estimate(None, None, f"needs {MIN_DRAWS} draws, got {weights.size}")
    shape = pareto_shape(weights)
    if shape == -np.inf:
        return Estimate(0.0, None, "all weights are equal: the guide is exact where it has mass")
    return estimate(shape)


def mcmc_metrics(
    draws: Mapping,
    sample_stats: Mapping | None = None,
    sites: Iterable[str] | None = None,
    run_seconds: float | None = None,
) -> dict[str, Estimate]:
    """R-hat, bulk and tail ESS (also a second), divergences and E-BFMI; extremes over scalars.

    Args:
        draws: site -> array ``(chain, draw) + event_shape``.
        sample_stats: name -> array ``(chain, draw)``; ``diverging``, ``energy`` and ``num_steps``
            are read where they are.
        sites: the sites to look at; all by default.
        run_seconds: wall time of fit and draw, for the rates.

    Returns:
        ``rhat``, ``ess_bulk``, ``ess_tail``, ``ess_bulk_per_second``, ``ess_tail_per_second``,
        ``divergences``, ``divergent_share``, ``ebfmi``, ``num_gradients``, ``ess_per_gradient``,
        ``proposal_acceptance``; the last three where the chains recorded them.
    """
    columns = scalars(draws, sites)
    stats = {} if sample_stats is None else sample_stats
    out = _chain_extremes(columns)
    for name in ("ess_bulk", "ess_tail"):
        size = out[name]
        if size.value is None or not run_seconds:
            note = size.note or "no running time known"
            out[f"{name}_per_second"] = Estimate(None, None, note)
        else:
            out[f"{name}_per_second"] = estimate(size.value / run_seconds, where=size.where)
    out.update(_divergences(stats))
    out["ebfmi"] = _ebfmi(stats)
    if "num_steps" in stats:
        out.update(_per_gradient(out["ess_bulk"], float(np.sum(stats["num_steps"]))))
    if "proposal_acceptance" in stats:
        out["proposal_acceptance"] = estimate(np.mean(stats["proposal_acceptance"]))
    return out


def _chain_extremes(columns: Mapping) -> dict[str, Estimate]:
    """R-hat and both ESS of the worst scalar."""
    names = ("rhat", "ess_bulk", "ess_tail")
    if not columns:
        return dict.fromkeys(names, Estimate(None, None, "no draw of a latent site varies"))
    for name, column in columns.items():
        if not np.all(np.isfinite(column)):
            note = f"{int(np.sum(~np.isfinite(column)))} draws of {name} are not finite"
            return dict.fromkeys(names, Estimate(None, None, note))
    chains, draws = next(iter(columns.values())).shape
    if draws < 4:
        return dict.fromkeys(names, Estimate(None, None, f"needs 4 draws a chain, got {draws}"))
    note = "" if chains > 1 else "one chain: its halves are compared"
    functions = {
        "rhat": (rhat, max, note),
        "ess_bulk": (lambda x: ess(x, "bulk"), min, ""),
        "ess_tail": (lambda x: ess(x, "tail"), min, ""),
    }
    return {label: _extreme(columns, *parts) for label, parts in functions.items()}


def _extreme(columns: Mapping, function, extreme, note: str) -> Estimate:
    """The worst value of a diagnostic over the scalars."""
    values = {name: function(column) for name, column in columns.items()}
    for name, value in values.items():
        if not np.isfinite(value):
            return Estimate(None, None, f"undefined for {name}: a chain does not move", name)
    worst = extreme(values, key=values.get)
    return estimate(values[worst], note=note, where=worst)


def _divergences(stats: Mapping) -> dict[str, Estimate]:
    names = ("divergences", "divergent_share")
    if "diverging" not in stats:
        return dict.fromkeys(names, Estimate(None, None, "the draws carry no divergence record"))
    diverging = np.asarray(stats["diverging"])
    note = f"of {diverging.size} transitions"
    values = (np.sum(diverging), np.mean(diverging))
    return {name: estimate(value, note=note) for name, value in zip(names, values, strict=True)}


def _per_gradient(size: Estimate, count: float) -> dict[str, Estimate]:
    """Gradients of the log density after the warm-up, and the bulk ESS that each is worth."""
    out = {"num_gradients": estimate(count, note="after warm-up")}
    if size.value is None or not count:
        out["ess_per_gradient"] = Estimate(None, None, size.note or "no gradient was taken")
    else:
        out["ess_per_gradient"] = estimate(size.value / count, where=size.where)
    return out


def _ebfmi(stats: Mapping) -> Estimate:
    if "energy" not in stats:
        return Estimate(None, None, "the draws carry no energies")
    energy = np.asarray(stats["energy"], np.float64)
    if not np.all(np.isfinite(energy)):
        return Estimate(None, None, "some energies are not finite")
    if energy.shape[-1] < 4 or np.any(np.ptp(energy, axis=-1) == 0):
        return Estimate(None, None, "a chain's energy does not vary")
    values = bfmi(energy)
    return estimate(values.min(), where=f"chain {int(values.argmin())}")


def own_metrics(result: MethodResult, sites: Iterable[str]) -> dict[str, Estimate]:
    """The metrics of one method that need no reference.

    Args:
        result: a finished method.
        sites: the model's latent sites.
    """
    if result.kind == "mcmc":
        return mcmc_metrics(result.draws, result.sample_stats, sites, result.run_seconds)
    if result.log_weights is None:
        return {"elbo": Estimate(None, None, "the method gives no importance weights")}
    return guide_metrics(result.log_weights)
