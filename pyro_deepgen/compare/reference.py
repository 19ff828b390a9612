"""Reference draws from a file, InferenceData, arrays or one of the methods, and their judgement."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .diagnostics import load_arviz
from .errors import DataError
from .metrics import mcmc_metrics
from .results import MethodResult, ModelSummary, Reference
from .verdict import judge_reference

__all__ = ["load_reference", "reference_from_result"]

EXACT_CHAINS = 4


def load_reference(reference, summary: ModelSummary, source: str | None = None) -> Reference:
    """Reference draws of the model's latent sites, with a verdict on the draws themselves.

    Args:
        reference: ArviZ InferenceData, the path of a NetCDF file of it, or a mapping site ->
            array of shape ``(chain, draw) + event_shape`` or ``(draw,) + event_shape``
            (independent draws, such as exact ones).
        summary: the model, for the names and shapes of its latent sites.
        source: what to call it.

    Raises:
        DataError: if the file is missing or unreadable, no latent site is in it, or shapes differ.
    """
    if isinstance(reference, str | Path):
        path, reference = reference, _read_netcdf(Path(reference))
        source = source or reference.posterior.attrs.get("source") or str(path)
    stats = {}
    if isinstance(reference, Mapping) and not hasattr(reference, "posterior"):
        draws, source = dict(reference), source or "given arrays"
        recorded = False
    elif hasattr(reference, "posterior"):
        source = source or "given InferenceData"
        draws = {name: value.values for name, value in reference.posterior.data_vars.items()}
        if hasattr(reference, "sample_stats"):
            stats = {name: v.values for name, v in reference.sample_stats.data_vars.items()}
        recorded = bool(stats)
    else:
        raise DataError(
            "reference must be InferenceData, a path to NetCDF, or a dict of arrays, "
            f"got {type(reference).__name__}"
        )
    draws = _fit(draws, summary)
    verdict = judge_reference(mcmc_metrics(draws, stats), recorded)
    return Reference(source, draws, verdict, None, stats)


def reference_from_result(result: MethodResult, summary: ModelSummary) -> Reference:
    """The run of one of the methods as reference; its verdict is that of its own diagnostics."""
    draws = {name: result.draws[name] for name in summary.latent_shapes if name in result.draws}
    verdict = judge_reference(result.metrics)
    return Reference(f"the {result.name} run", draws, verdict, result.name, result.sample_stats)


def _read_netcdf(path: Path):
    if not path.is_file():
        raise DataError(f"reference file {path} does not exist")
    arviz = load_arviz()
    try:
        data = arviz.from_netcdf(str(path))
    except Exception as error:
        raise DataError(f"reference file {path} is not readable as NetCDF: {error}") from error
    if not hasattr(data, "posterior"):
        raise DataError(f"reference file {path} has no group 'posterior'")
    return data


def _fit(draws: Mapping, summary: ModelSummary) -> dict[str, np.ndarray]:
    """Keep the latent sites, checked for shape, with chain and draw dimensions in front."""
    shared = [name for name in summary.latent_shapes if name in draws]
    if not shared:
        raise DataError(
            f"the reference has no latent site of the model: it has {sorted(draws)}, "
            f"the model {sorted(summary.latent_shapes)}"
        )
    out = {}
    for name in shared:
        value, shape = np.asarray(draws[name]), tuple(summary.latent_shapes[name])
        if value.ndim == len(shape) + 1 and value.shape[1:] == shape:
            value = _split(value)
        if value.ndim != len(shape) + 2 or value.shape[2:] != shape:
            raise DataError(
                f"reference draws of {name} have shape {value.shape}; the model needs "
                f"(chain, draw) + {shape} or (draw,) + {shape}"
            )
        if not np.all(np.isfinite(value)):
            count = int(np.sum(~np.isfinite(value)))
            raise DataError(f"reference draws of {name} hold {count} values that are not finite")
        out[name] = value
    if len({value.shape[:2] for value in out.values()}) > 1:
        raise DataError("the reference's sites differ in their numbers of chains or draws")
    return out


def _split(value: np.ndarray) -> np.ndarray:
    """Independent draws as a few chains, so that they can be compared with each other."""
    chains = EXACT_CHAINS if len(value) >= 10 * EXACT_CHAINS else 1
    kept = len(value) // chains * chains
    return value[:kept].reshape(chains, -1, *value.shape[1:])
