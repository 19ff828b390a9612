"""What the command line compares on: a model in a file, or a built-in problem, with its data."""

from collections.abc import Callable
from pathlib import Path

from .data import check_arguments, load_data
from .errors import CompareError
from .method_names import import_file
from .problems import PROBLEMS

__all__ = ["load_target"]


def load_target(target: str, path: Path | None):
    """Model, data and the exact draws' function (or None) of a target.

    Args:
        target: ``file.py:model`` or a built-in problem's name.
        path: file of the data; the problem's own by default.

    Raises:
        CompareError: if there is no such target or file, or the data do not fit the model.
    """
    if target in PROBLEMS:
        problem = PROBLEMS[target]
        data = problem.data if path is None else load_data(path)
        check_arguments(problem.model, data)
        return problem.model, data, problem.reference_fn if path is None else None
    model = _load_model(target)
    data = {} if path is None else load_data(path)
    check_arguments(model, data)
    return model, data, None


def _load_model(target: str) -> Callable:
    file, separator, name = target.rpartition(":")
    if not separator or not name:
        raise CompareError(
            f"target {target!r} is neither file.py:model nor one of {', '.join(PROBLEMS)}"
        )
    module = import_file(Path(file))
    model = getattr(module, name, None)
    if not callable(model):
        found = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise CompareError(
            f"model file {file} has no function {name!r}; it has {', '.join(found) or 'none'}"
        )
    return model
