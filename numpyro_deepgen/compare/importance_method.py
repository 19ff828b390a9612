"""Draws of a trained guide, resampled by their importance weights."""

import time
from collections.abc import Callable

import numpy as np

from .._numerics.importance import resample_indices, summarize_weights
from .errors import FitError
from .results import MethodResult
from .settings import Settings

__all__ = ["run_importance"]

MIN_DRAWS = 25


def run_importance(name: str, run_guide: Callable, guide_name: str) -> Callable:
    """The runner of a guide whose draws are chosen in proportion to their weights.

    As many draws are chosen as the weights are worth, so that few of them are the same.

    Args:
        name: of the method.
        run_guide: the guide's own runner.
        guide_name: of the guide.
    """

    def run(context, settings: Settings, bar) -> MethodResult:
        result = run_guide(context, settings, bar)
        start = time.perf_counter()
        weights = np.asarray(result.log_weights, np.float64)
        if weights.size < MIN_DRAWS or np.any(np.isnan(weights) | (weights == np.inf)):
            raise FitError(
                f"resampling needs {MIN_DRAWS} draws with finite weights, got {weights.size} with "
                f"{int(np.sum(~np.isfinite(weights)))} that are not"
            )
        summary = summarize_weights(weights)
        count = max(int(summary.ess), 4)
        rng = np.random.default_rng([settings.seed, 1])
        chosen = resample_indices(summary.smoothed_log_weights, rng.random((2, count)), True)
        result.draws = {site: value[:, chosen] for site, value in result.draws.items()}
        result.name = name
        result.timings["draw"] += time.perf_counter() - start
        result.notes.append(
            f"{count} draws of {guide_name} chosen by their weights; log evidence "
            f"{summary.log_evidence:.3f} +- {summary.log_evidence_error:.2g}"
        )
        return result

    return run
