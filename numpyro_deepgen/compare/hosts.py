"""Several comparisons of one model, from either host, read from their folders and judged together.

A folder is what ``compare(..., output=...)`` wrote; neither host's framework is needed to read it.
"""

import json
from pathlib import Path

import numpy as np

from .comparison import Comparison
from .diagnostics import load_arviz
from .errors import CompareError, DataError
from .export import file_name
from .reference import load_reference, reference_from_result
from .results import MethodResult, ModelSummary
from .settings import Settings

__all__ = ["compare_hosts", "read_folder"]


def compare_hosts(folders, reference=None, *, output=None, plots: bool = True) -> Comparison:
    """Tabulate the methods of several finished comparisons against one reference.

    Args:
        folders: directories that ``compare`` wrote, two or more, of the same model.
        reference: what every method is measured against: a NetCDF file, InferenceData, arrays, the
            label of a method, as ``"pyro:nuts"``, or ``"none"``. None takes the reference draws
            that a folder holds, else the first method of MCMC that its own diagnostics trust.
        output: directory for the results, or None.
        plots: whether ``output`` gets PNG files.

    Returns:
        A :class:`Comparison` whose methods are called ``host:method``.

    Raises:
        CompareError: if there are fewer than two folders, or their models differ in their latent
            sites.
        DataError: if a folder is no comparison's, or the reference is not found.

    Example:
        >>> merged = compare_hosts(["on_pyro", "on_numpyro"])  # doctest: +SKIP
        >>> print(merged.table())  # doctest: +SKIP
    """
    folders = [Path(folder) for folder in folders]
    if len(folders) < 2:
        raise CompareError(f"folders must be at least two, got {len(folders)}")
    parts = [read_folder(folder) for folder in folders]
    _check_models(folders, parts)
    merged = _merged(folders, parts)
    _set_reference(merged, folders, parts, reference)
    merged.judge()
    if output is not None:
        merged.save(output, plots and any(r.error is None for r in merged.results))
    return merged


def read_folder(folder: Path) -> Comparison:
    """The comparison that a folder holds, without its reference.

    Args:
        folder: a directory that ``compare`` wrote.

    Raises:
        DataError: if it holds none, or a file is missing or unreadable.
    """
    path = Path(folder) / "comparison.json"
    if not path.is_file():
        raise DataError(f"folder {folder} has no comparison.json; give one that compare wrote")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        model = found["model"]
        summary = ModelSummary(
            model["name"],
            {site: tuple(shape) for site, shape in model["latent_shapes"].items()},
            model["latent_dim"],
            tuple(model["discrete"]),
            tuple(model["observed"]),
        )
        settings = Settings(**found["settings"])
        comparison = Comparison(summary, settings, found["host"], versions=found["versions"])
        for entry in found["results"]:
            comparison.add(_read_result(Path(folder), entry))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(
            f"folder {folder} is not readable: {type(error).__name__}: {error}"
        ) from error
    return comparison


def _read_result(folder: Path, entry: dict) -> MethodResult:
    result = MethodResult(
        entry["name"],
        entry["kind"],
        timings=entry["timings"],
        settings=entry["settings"],
        error=entry["error"],
        notes=entry["notes"],
    )
    losses = entry["losses"]
    if losses is not None:
        result.losses = np.array([np.nan if value is None else value for value in losses])
    if result.error is None:
        _read_draws(folder / file_name(result.name), result)
    return result


def _read_draws(path: Path, result: MethodResult) -> None:
    if not path.is_file():
        raise DataError(f"file {path} is missing: the comparison there lists its method")
    try:
        data = load_arviz().from_netcdf(str(path))
    except Exception as error:
        raise DataError(f"file {path} is not readable as NetCDF: {error}") from error
    result.draws = {name: value.values for name, value in data.posterior.data_vars.items()}
    stats = {}
    if hasattr(data, "sample_stats"):
        stats = {name: value.values for name, value in data.sample_stats.data_vars.items()}
    weights = stats.pop("log_weight", None)
    result.log_weights = None if weights is None else weights.reshape(-1)
    result.sample_stats = stats


def _check_models(folders: list[Path], parts: list[Comparison]) -> None:
    """Refuse comparisons whose models have other latent sites."""
    first = parts[0].model
    for folder, part in zip(folders[1:], parts[1:], strict=True):
        if part.model.latent_shapes != first.latent_shapes:
            raise CompareError(
                f"the models differ: {folders[0]} has the latent sites "
                f"{dict(first.latent_shapes)}, {folder} has {dict(part.model.latent_shapes)}"
            )


def _merged(folders: list[Path], parts: list[Comparison]) -> Comparison:
    hosts = [part.host for part in parts]
    labels = hosts if len(set(hosts)) == len(hosts) else [folder.name for folder in folders]
    if len(set(labels)) < len(labels):
        raise CompareError(f"folders must differ in host or in name, got {', '.join(labels)} twice")
    merged = Comparison(
        parts[0].model,
        parts[0].settings,
        " and ".join(dict.fromkeys(hosts)),
        versions={
            f"{label}: {k}": v
            for label, p in zip(labels, parts, strict=True)
            for k, v in p.versions.items()
        },
    )
    for label, part in zip(labels, parts, strict=True):
        if part.settings != merged.settings:
            merged.notes.append(f"{label} ran with other settings: {_difference(merged, part)}")
        for result in part.results:
            result.name = f"{label}:{result.name}"
            merged.add(result)
    names = {part.model.name for part in parts}
    if len(names) > 1:
        merged.notes.append(f"the models are called {', '.join(sorted(names))}")
    return merged


def _difference(merged: Comparison, part: Comparison) -> str:
    ours, theirs = merged.settings.to_dict(), part.settings.to_dict()
    return ", ".join(f"{k} {theirs[k]} not {ours[k]}" for k in ours if ours[k] != theirs[k])


def _set_reference(merged: Comparison, folders: list[Path], parts: list, reference) -> None:
    if isinstance(reference, str) and reference == "none":
        return
    labels = {result.name: result for result in merged.results if result.error is None}
    if reference is None:
        reference = _default_reference(merged, folders)
    if reference is None:
        return
    if isinstance(reference, str) and reference in labels:
        if labels[reference].kind != "mcmc":
            raise CompareError(f"reference {reference!r} must be a method of MCMC")
        merged.reference = reference_from_result(labels[reference], merged.model)
    elif isinstance(reference, str) and ":" in reference and not Path(reference).exists():
        raise CompareError(
            f"reference {reference!r} is neither a file nor one of {', '.join(labels)}"
        )
    else:
        merged.reference = load_reference(reference, merged.model)


def _default_reference(merged: Comparison, folders: list[Path]):
    """Reference draws that a folder holds, else the first chains that deserve the role."""
    for folder in folders:
        if (folder / "reference.nc").is_file():
            return folder / "reference.nc"
    chains = [r for r in merged.results if r.kind == "mcmc" and r.error is None]
    trusted = [r.name for r in chains if reference_from_result(r, merged.model).trusted]
    return (trusted or [r.name for r in chains] or [None])[0]
