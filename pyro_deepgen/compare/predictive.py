r"""Posterior predictive checks: does the model, fitted by a method, give data like those observed?

For a statistic :math:`T` and draws :math:`x^{(s)}` of the posterior predictive distribution

.. math::
    p = \frac1S \sum_s \left( [T(x^{(s)}) > T(x)] + \tfrac12 [T(x^{(s)}) = T(x)] \right).

It checks model and method together: a method that is right for a wrong model is extreme, too.

References:
    Gelman, Meng and Stern, "Posterior predictive assessment of model fitness via realized
    discrepancies", 1996, section 2.
"""

from dataclasses import dataclass

import numpy as np

from .progress import progress_bar
from .scalars import spread_draws
from .simulation import observed_values, replicated

__all__ = ["PredictiveCheck", "STATISTICS", "check_statistics", "predictive_checks"]

NUM_REPLICATED = 200
EXTREME = 0.01
STATISTICS = {
    "mean": np.mean,
    "sd": np.std,
    "min": np.min,
    "max": np.max,
    "5 %": lambda x: np.quantile(x, 0.05),
    "median": np.median,
    "95 %": lambda x: np.quantile(x, 0.95),
}


@dataclass(frozen=True)
class PredictiveCheck:
    """One statistic of one observed site.

    Attributes:
        site: name of the observed site.
        statistic: name of the statistic.
        observed: its value on the data.
        replicated: its values on replicated data, shape ``(S,)``.
        p_value: share of replicated values above the observed one, ties by half.
    """

    site: str
    statistic: str
    observed: float
    replicated: np.ndarray
    p_value: float

    @property
    def extreme(self) -> bool:
        """Whether hardly any replicated data are like the observed ones."""
        return min(self.p_value, 1.0 - self.p_value) < EXTREME


def check_statistics(observed: dict, found: dict) -> list[PredictiveCheck]:
    """The checks of every statistic and site.

    Args:
        observed: site -> array.
        found: site -> array of replicated data, ``(S,)`` before the shape.
    """
    checks = []
    for site, data in observed.items():
        rows = np.asarray(found[site], np.float64).reshape(len(found[site]), -1)
        for name, function in STATISTICS.items():
            value = float(function(np.asarray(data, np.float64)))
            values = np.array([function(row) for row in rows])
            p_value = float(np.mean(values > value) + 0.5 * np.mean(values == value))
            checks.append(PredictiveCheck(site, name, value, values, p_value))
    return checks


def predictive_checks(comparison, context, progress: bool) -> dict[str, list[PredictiveCheck]]:
    """The checks of every method that has draws; empty where nothing is observed.

    Args:
        comparison: the finished comparison.
        context: model and data.
        progress: whether to show a bar.
    """
    observed = observed_values(context)
    if not observed:
        comparison.notes.append("no predictive check: the model has no observed site")
        return {}
    checks = {}
    methods = [result for result in comparison.results if result.error is None]
    with progress_bar("predictive", progress) as bar:
        bar.reset(total=len(methods))
        for result in methods:
            draws = spread_draws(result.draws, comparison.model.latent_shapes, NUM_REPLICATED)
            checks[result.name] = check_statistics(
                observed, replicated(context, draws, list(observed))
            )
            bar.update(1)
    return checks
