"""Files of a comparison: text, strict JSON, NetCDF, HTML; each written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .diagnostics import load_arviz
from .html import html_page
from .results import Estimate, MethodResult, Verdict

__all__ = ["file_name", "inference_data", "save", "to_dict", "write_atomically"]


def to_dict(comparison) -> dict:
    """Everything but the draws as plain values: no NaN, no infinity, no arrays."""
    reference = comparison.reference
    best = comparison.best()
    return {
        "host": comparison.host,
        "versions": dict(comparison.versions),
        "model": comparison.model.to_dict(),
        "settings": _plain(comparison.settings.to_dict()),
        "interrupted": comparison.interrupted,
        "warnings": list(comparison.warnings),
        "reference": None
        if reference is None
        else {
            "source": reference.source,
            "method": reference.method,
            "trusted": reference.trusted,
            "verdict": _plain(reference.verdict),
        },
        "best": None if best is None else best.name,
        "notes": list(comparison.notes),
        "predictive": {name: _checks(found) for name, found in comparison.predictive.items()},
        "calibration": {
            name: _calibration(found) for name, found in comparison.calibration.items()
        },
        "results": [_result(result) for result in comparison.results],
    }


def _result(result: MethodResult) -> dict:
    return {
        "name": result.name,
        "kind": result.kind,
        "error": result.error,
        "verdict": _plain(result.verdict),
        "timings": _plain(result.timings),
        "metrics": _plain(result.metrics),
        "settings": _plain(result.settings),
        "notes": list(result.notes),
        "losses": None if result.losses is None else _plain(np.asarray(result.losses)),
    }


def _checks(checks: list) -> list[dict]:
    """Posterior predictive checks, without the replicated data."""
    return [
        {
            "site": check.site,
            "statistic": check.statistic,
            "observed": _plain(check.observed),
            "replicated_mean": _plain(np.mean(check.replicated)),
            "p_value": check.p_value,
        }
        for check in checks
    ]


def _calibration(found) -> dict:
    """Simulation-based calibration: ranks and p-values by scalar."""
    return {
        "num_draws": found.num_draws,
        "p_value": found.p_value,
        "worst": found.worst,
        "ranks": {name: _plain(ranks) for name, ranks in found.ranks.items()},
        "p_values": {name: test.ecdf_p_value for name, test in found.tests.items()},
        "errors": list(found.errors),
    }


def _plain(value):
    """Values as JSON knows them; numbers that are not finite become None."""
    if isinstance(value, Estimate):
        parts = {"value": value.value, "error": value.error}
        extra = {"note": value.note, "where": value.where}
        return parts | {name: text for name, text in extra.items() if text}
    if isinstance(value, Verdict):
        return {"level": value.level, "reasons": list(value.reasons)}
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value if value is None else str(value)


def inference_data(result: MethodResult):
    """ArviZ InferenceData of a method: ``posterior``, ``sample_stats``, ``log_weights``."""
    stats = {name: np.asarray(value) for name, value in result.sample_stats.items()}
    if result.log_weights is not None:
        stats["log_weight"] = np.asarray(result.log_weights).reshape(1, -1)
    arviz = load_arviz()
    attrs = {"method": result.name, "kind": result.kind}
    if result.verdict is not None:
        attrs["verdict"] = result.verdict.level
    return arviz.from_dict(
        posterior={name: np.asarray(value) for name, value in result.draws.items()},
        sample_stats=stats or None,
        posterior_attrs=attrs,
    )


def write_atomically(path: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk and rename it.

    Args:
        path: the final path.
        write: given a temporary path with the same suffix.
    """
    handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def save(comparison, directory: Path, plots: bool = True) -> list[Path]:
    """Write ``table.txt``, ``comparison.json``, ``<method>.nc``, plots and ``report.html``."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_dict(comparison), indent=1, allow_nan=False)
    written = [
        write_atomically(directory / "table.txt", _writer(comparison.table())),
        write_atomically(directory / "comparison.json", _writer(text + "\n")),
    ]
    for result in comparison.results:
        if result.error is None:
            written.append(save_result(result, directory))
    written += _save_reference(comparison.reference, directory)
    images = []
    if plots:
        from .plots import save_plots

        images = save_plots(comparison, directory)
    page = html_page(comparison, images)
    return [*written, *images, write_atomically(directory / "report.html", _writer(page))]


def _save_reference(reference, directory: Path) -> list[Path]:
    """Write the reference draws to ``reference.nc`` where they are no method's own."""
    if reference is None or reference.method is not None:
        return []
    arviz = load_arviz()
    attrs = {"source": reference.source}
    data = arviz.from_dict(
        posterior={name: np.asarray(value) for name, value in reference.draws.items()},
        sample_stats={k: np.asarray(v) for k, v in reference.sample_stats.items()} or None,
        posterior_attrs=attrs,
    )
    return [_write_netcdf(data, directory / "reference.nc")]


def _write_netcdf(data, path: Path) -> Path:
    return write_atomically(path, lambda path: data.to_netcdf(str(path), engine="h5netcdf"))


def save_result(result: MethodResult, directory: Path) -> Path:
    """Write one method's InferenceData to ``<method>.nc``."""
    return _write_netcdf(inference_data(result), directory / file_name(result.name))


def file_name(method: str) -> str:
    """The NetCDF file of a method; a colon is no character of every file system."""
    return method.replace(":", "-") + ".nc"


def _writer(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text, encoding="utf-8")
