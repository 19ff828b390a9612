r"""Distance of a method's draws from reference draws, scalar by scalar and jointly.

With reference standard deviation :math:`s`, the errors of a scalar are

.. math::
    e_\text{mean} = |m - m_\text{ref}| / s, \qquad
    e_\text{sd} = |\log (s' / s)|, \qquad
    e_\text{quantile} = \max_p |q_p - q_{p, \text{ref}}| / s,

each with the Monte Carlo error of both sides. Scalars whose tails are so heavy that the moment does
not exist, or cannot be told from draws, are left out of that moment and counted.

References:
    Bonneel, Rabin, Peyre and Pfister, "Sliced and Radon Wasserstein barycenters of measures", 2015.
"""

from collections.abc import Mapping

import numpy as np

from .diagnostics import ess, quantile_error
from .results import Estimate, estimate
from .scalars import flatten_draws, scalars, tail_shape

__all__ = ["agreement_metrics", "sliced_wasserstein"]

QUANTILES = (0.05, 0.5, 0.95)
MAX_TAIL_MEAN = 0.5
MAX_TAIL_SD = 0.35
NUM_PROJECTIONS = 128
MCSE_FACTOR = 3.0
MOMENTS = ("mean", "sd", "quantile")


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, seed: int = 0) -> float:
    r"""Sliced 1-Wasserstein distance of two samples, over fixed random directions.

    Args:
        x: array ``(n, D)``.
        y: array ``(m, D)``.
        seed: of the directions.

    Example:
        >>> x = np.linspace(0.0, 1.0, 50)[:, None]
        >>> round(sliced_wasserstein(x, x + 2.0), 6)
        2.0
    """
    directions = np.random.default_rng(seed).standard_normal((x.shape[1], NUM_PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    levels = (np.arange(512) + 0.5) / 512
    a = np.quantile(x @ directions, levels, axis=0)
    b = np.quantile(y @ directions, levels, axis=0)
    return float(np.mean(np.abs(a - b)))


def agreement_metrics(draws: Mapping, reference: Mapping, sites) -> dict[str, Estimate]:
    """Errors of means, standard deviations and quantiles, and the sliced Wasserstein distance.

    Args:
        draws: the method's, site -> array ``(chain, draw) + event_shape``.
        reference: the reference's, likewise.
        sites: the latent sites to compare; those both have are taken.

    Returns:
        For each of ``mean``, ``sd``, ``quantile``: ``<m>_error_max`` (with the Monte Carlo error of
        that scalar), ``<m>_error_mean`` over scalars, and ``<m>_excess``, the largest error after
        three Monte Carlo errors are taken off (never below zero); ``sliced_wasserstein`` and
        ``sliced_wasserstein_floor``, the same distance between the reference's own halves.
    """
    mine, theirs = scalars(draws, sites), scalars(reference, sites)
    names = [name for name in theirs if name in mine]
    if not names:
        return _nothing("the method and the reference share no latent scalar")
    for side, columns in (("method", mine), ("reference", theirs)):
        bad = [name for name in names if not np.all(np.isfinite(columns[name]))]
        if bad:
            return _nothing(f"draws of {bad[0]} of the {side} are not finite")
    tails = {name: tail_shape(theirs[name]) for name in names}
    errors = {name: _scalar_errors(mine[name], theirs[name]) for name in names}
    limits = {"mean": MAX_TAIL_MEAN, "sd": MAX_TAIL_SD, "quantile": np.inf}
    out = {}
    for moment in MOMENTS:
        kept = [name for name in names if tails[name] < limits[moment]]
        out.update(_extremes(moment, {name: errors[name][moment] for name in kept}, len(names)))
    light = [name for name in names if tails[name] < MAX_TAIL_MEAN]
    out.update(_wasserstein(mine, theirs, light, len(names)))
    return out


def _nothing(note: str) -> dict[str, Estimate]:
    names = [f"{m}_{kind}" for m in MOMENTS for kind in ("error_max", "error_mean", "excess")]
    names += ["sliced_wasserstein", "sliced_wasserstein_floor"]
    return dict.fromkeys(names, Estimate(None, None, note))


def _scalar_errors(x: np.ndarray, reference: np.ndarray) -> dict[str, tuple[float, float]]:
    """Moment -> (error, its Monte Carlo error) of one scalar, in units of the reference's sd."""
    scale = reference.std(ddof=1)
    out = {}
    error = abs(x.mean() - reference.mean()) / scale
    parts = [side.std(ddof=1) / np.sqrt(_draws_worth(side)) for side in (x, reference)]
    out["mean"] = (error, np.hypot(*parts) / scale)
    out["sd"] = (abs(np.log(x.std(ddof=1) / scale)), _log_sd_error(x, reference))
    candidates = []
    for level in QUANTILES:
        error = abs(np.quantile(x, level) - np.quantile(reference, level)) / scale
        parts = [_quantile_error(side, level) for side in (x, reference)]
        candidates.append((error, np.hypot(*parts) / scale))
    out["quantile"] = max(candidates, key=lambda pair: pair[0] - MCSE_FACTOR * pair[1])
    return out


def _draws_worth(x: np.ndarray) -> float:
    """Effective sample size of the mean, one where it is undefined."""
    value = ess(x)
    return max(value, 1.0) if np.isfinite(value) else 1.0


def _log_sd_error(x: np.ndarray, reference: np.ndarray) -> float:
    """Monte Carlo error of the log ratio of standard deviations, from the fourth moments."""
    total = 0.0
    for side in (x, reference):
        square = (side - side.mean()) ** 2
        # Delta method: Var[log s] = Var[(x - mean)^2] / (4 ESS s^4).
        total += square.var() / (4.0 * _draws_worth(square) * square.mean() ** 2)
    return float(np.sqrt(total))


def _quantile_error(x: np.ndarray, level: float) -> float:
    value = quantile_error(x, level)
    return value if np.isfinite(value) else float(x.std(ddof=1))


def _extremes(moment: str, errors: Mapping, total: int) -> dict[str, Estimate]:
    labels = [f"{moment}_{kind}" for kind in ("error_max", "error_mean", "excess")]
    left_out = total - len(errors)
    note = f"{left_out} of {total} scalars left out: tails too heavy" if left_out else ""
    if not errors:
        return dict.fromkeys(labels, Estimate(None, None, note))
    worst = max(errors, key=lambda name: errors[name][0])
    excess = {name: error - MCSE_FACTOR * mcse for name, (error, mcse) in errors.items()}
    surest = max(excess, key=excess.get)
    values = [
        estimate(*errors[worst], note, worst),
        estimate(np.mean([error for error, _ in errors.values()]), note=note),
        estimate(max(excess[surest], 0.0), note=note, where=surest),
    ]
    return dict(zip(labels, values, strict=True))


def _wasserstein(mine: Mapping, theirs: Mapping, names: list, total: int) -> dict[str, Estimate]:
    labels = ("sliced_wasserstein", "sliced_wasserstein_floor")
    if not names:
        return dict.fromkeys(labels, Estimate(None, None, "every scalar has too heavy tails"))
    reference = flatten_draws(theirs, names)
    loc, scale = reference.mean(0), reference.std(0, ddof=1)
    half = next(iter(theirs.values())).shape[1] // 2
    first = flatten_draws({name: theirs[name][:, :half] for name in names}, names)
    second = flatten_draws({name: theirs[name][:, half:] for name in names}, names)
    x = (flatten_draws(mine, names) - loc) / scale
    left_out = total - len(names)
    note = f"{left_out} of {total} scalars left out: tails too heavy" if left_out else ""
    distance = sliced_wasserstein(x, (reference - loc) / scale)
    floor = sliced_wasserstein((first - loc) / scale, (second - loc) / scale)
    return dict(
        zip(labels, (estimate(distance, note=note), estimate(floor, note=note)), strict=True)
    )
