"""Load the arguments of a model from JSON, NPZ or CSV, and check them before anything runs.

Nothing is unpickled. The keys of the file are the names of the model's arguments; a CSV file gives
one column an argument.
"""

import csv
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from .errors import DataError, ModelError

__all__ = ["check_arguments", "check_finite", "check_generative", "load_data"]


def load_data(path: str | Path) -> dict[str, np.ndarray]:
    """Read a data file into arrays.

    Args:
        path: ``.json`` (one object), ``.npz`` or ``.csv`` (a header line, then numbers).

    Returns:
        Argument name -> array.

    Raises:
        DataError: if the file is missing, of another kind, malformed, or holds values that are not
            finite.
    """
    path = Path(path)
    readers = {".json": _read_json, ".npz": _read_npz, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"data file {path} has suffix {path.suffix!r}; it must be one of {', '.join(readers)}"
        )
    if not path.is_file():
        raise DataError(f"data file {path} does not exist")
    try:
        data = reader(path)
    except DataError:
        raise
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"data file {path} cannot be read: {error}") from error
    if not data:
        raise DataError(f"data file {path} holds no argument")
    check_finite(data, f"data file {path}")
    return data


def check_finite(data: Mapping, where: str = "data") -> None:
    """Raise :class:`DataError` if an array holds NaN or infinity; the message counts them."""
    for name, value in data.items():
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "fc" or np.all(np.isfinite(array)):
            continue
        nan = int(np.sum(np.isnan(array)))
        infinite = int(np.sum(np.isinf(array)))
        raise DataError(
            f"{where}: {name!r} holds {nan} NaN and {infinite} infinite of {array.size} values; "
            "remove or impute them"
        )


def check_arguments(model: Callable, data: Mapping) -> None:
    """Raise :class:`DataError` unless the model accepts the data's keys and gets all it requires.

    Example:
        >>> check_arguments(lambda x, y=None: None, {"x": 1})
    """
    parameters = inspect.signature(model).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {name: p for name, p in parameters.items() if p.kind in kinds}
    unknown = [] if takes_any else sorted(set(data) - set(named))
    if unknown:
        raise DataError(
            f"the model takes no argument {', '.join(map(repr, unknown))}; "
            f"it takes {', '.join(map(repr, named)) or 'none'}"
        )
    missing = [k for k, p in named.items() if p.default is p.empty and k not in data]
    if missing:
        raise DataError(
            f"the model requires {', '.join(map(repr, missing))}, which the data lack; "
            f"they hold {', '.join(map(repr, sorted(data))) or 'nothing'}"
        )


def _read_json(path: Path) -> dict[str, np.ndarray]:
    with path.open(encoding="utf-8") as file:
        content = json.load(file)
    if not isinstance(content, dict):
        raise DataError(f"data file {path} must hold one object, got {type(content).__name__}")
    return {name: _numeric(name, value, path) for name, value in content.items()}


def _numeric(name: str, value, path: Path) -> np.ndarray:
    """A JSON value as a numeric array; null counts as NaN."""
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"data file {path}: {name!r} is not a rectangular array: {error}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"data file {path}: {name!r} holds values that are not numbers")
    return array


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise DataError(f"data file {path} is not a plain NPZ archive: {error}") from error
    for name, array in data.items():
        if array.dtype.kind not in "fiub":
            raise DataError(f"data file {path}: {name!r} has dtype {array.dtype}, not a number")
    return data


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise DataError(f"data file {path} is empty")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header) or not all(header):
        raise DataError(f"data file {path} needs one distinct name a column, got {header}")
    columns = {name: [] for name in header}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(
                f"data file {path}, line {number}: {len(row)} fields, the header has {len(header)}"
            )
        for name, text in zip(header, row, strict=True):
            columns[name].append(_number(text, name, number, path))
    return {name: _integers_if_whole(np.array(values)) for name, values in columns.items()}


def _number(text: str, name: str, line: int, path: Path) -> float:
    text = text.strip()
    if not text:
        return float("nan")
    try:
        return float(text)
    except ValueError as error:
        message = f"data file {path}, line {line}: {name!r} is {text!r}, not a number"
        raise DataError(message) from error


def _integers_if_whole(values: np.ndarray) -> np.ndarray:
    """Whole numbers as integers, so that they can serve as indices or counts."""
    if values.size and np.all(np.isfinite(values)) and np.all(values == np.round(values)):
        return values.astype(np.int64)
    return values


def check_generative(factors: list, observed: list) -> None:
    """Refuse models whose joint density is not that of their own draws.

    Args:
        factors: names of factors.
        observed: names of the observed sites.

    Raises:
        ModelError: if there is a factor, or nothing is observed.
    """
    if factors:
        raise ModelError(
            f"calibration needs a model whose draws follow its density: the factor {factors[0]!r} "
            "does not; leave sbc out"
        )
    if not observed:
        raise ModelError(
            "calibration needs an observed site, to simulate its values; leave sbc out"
        )
