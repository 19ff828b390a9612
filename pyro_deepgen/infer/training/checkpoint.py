"""Checkpoints of a fit: one safetensors file, written atomically and never unpickled."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from ..._numerics.files import write_atomically
from .result import FitLog

__all__ = ["check_arrays", "read_checkpoint", "write_checkpoint"]

FORMAT = "deepgen fit 1"


def write_checkpoint(
    path: str | Path, arrays: Mapping[str, np.ndarray], log: FitLog, fingerprint: dict
) -> None:
    """Write the state of training, its log and its settings to one file.

    Args:
        path: file to replace.
        arrays: the state of the trainer.
        log: the history so far.
        fingerprint: settings that a resumed run must share.
    """
    arrays = {**arrays, **log.to_arrays()}
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {
        "format": FORMAT,
        "fingerprint": json.dumps(fingerprint),
        "log": json.dumps(log.to_dict()),
    }
    write_atomically(path, safetensors.numpy.save(arrays, metadata=header))


def read_checkpoint(path: str | Path, fingerprint: dict) -> tuple[dict[str, np.ndarray], FitLog]:
    """Read what :func:`write_checkpoint` wrote.

    Raises:
        ValueError: if the file is no checkpoint of a fit, or of one with other settings, which
            are named.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(_foreign(path)) from error
    if header.get("format") != FORMAT:
        raise ValueError(_foreign(path))
    _check_fingerprint(json.loads(header["fingerprint"]), json.loads(json.dumps(fingerprint)))
    log = FitLog.restore(json.loads(header["log"]), arrays)
    return {k: v for k, v in arrays.items() if not k.startswith("log/")}, log


def check_arrays(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Raise a ValueError that names the arrays that are missing, unexpected or of another form."""
    problems = []
    if missing := sorted(expected.keys() - found.keys()):
        problems.append(f"no {', '.join(missing)}")
    if unexpected := sorted(found.keys() - expected.keys()):
        problems.append(f"an unexpected {', '.join(unexpected)}")
    for name in sorted(found.keys() & expected.keys()):
        one, other = _form(found[name]), _form(expected[name])
        if one != other:
            problems.append(f"{name} of {one} instead of {other}")
    if problems:
        raise ValueError(
            f"checkpoint must hold the parameters of this model and guide, got "
            f"{'; '.join(problems)}; pass resume=False to start anew."
        )


def _form(array: np.ndarray) -> str:
    return f"shape {tuple(array.shape)} {array.dtype}"


def _foreign(path: str | Path) -> str:
    return (
        f"checkpoint must be a file written by fit, got {str(path)!r}, which is another; pass "
        "another path, or resume=False to replace it."
    )


def _check_fingerprint(found: dict, expected: dict) -> None:
    names = sorted(found.keys() | expected.keys())
    missing = object()
    differ = [
        f"{name}={found.get(name)!r} instead of {expected.get(name)!r}"
        for name in names
        if found.get(name, missing) != expected.get(name, missing)
    ]
    if differ:
        raise ValueError(
            f"checkpoint must come from a fit with the same settings, got {'; '.join(differ)}; "
            "pass the settings it was written with, or resume=False to start anew."
        )
