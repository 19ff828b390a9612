"""Methods by name, dotted name or object, with clear words for what is none."""

import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import engine
from .errors import CompareError
from .results import Method

__all__ = ["DEFAULT_METHODS", "bind_methods", "import_file", "resolve_methods"]

DEFAULT_METHODS = ("nuts", "auto_normal", "nsf", "neutra")


def resolve_methods(methods: str | Sequence) -> dict[str, Callable | None]:
    """The methods without repeats: name -> the user's function of the model, or None.

    Args:
        methods: comma-separated names or a sequence of names and pairs ``(name, function)``. A
            name is one of :data:`METHODS`, or ``module:object`` or ``file.py:object`` of a guide
            class, a kernel class, or a function of the model that gives a guide or a kernel.

    Raises:
        CompareError: for an unknown method, with the close matches, or an object not found.
    """
    if isinstance(methods, str):
        methods = methods.split(",")
    chosen = {}
    for method in methods:
        name, factory = _resolve(method)
        if not name:
            continue
        if chosen.get(name, factory) is not factory:
            raise CompareError(f"methods must have different names, got {name!r} twice")
        chosen[name] = factory
    if not chosen:
        raise CompareError(f"methods must name at least one of {', '.join(engine.METHODS)}")
    return chosen


def bind_methods(chosen: dict[str, Callable | None], model: Callable) -> dict[str, Method]:
    """The methods, those of the user tried on the model.

    Raises:
        CompareError: if a user's function gives neither a guide nor a kernel.
    """
    return {
        name: engine.METHODS[name] if factory is None else engine.user_method(name, factory, model)
        for name, factory in chosen.items()
    }


def _resolve(method) -> tuple[str, Callable | None]:
    if isinstance(method, str):
        name = method.strip()
        if ":" in name:
            return name.rpartition(":")[2], _load(name)
        if name and name not in engine.METHODS:
            raise CompareError(_unknown(name))
        return name, None
    if callable(method):
        return _checked_name(getattr(method, "__name__", type(method).__name__)), method
    if not (isinstance(method, Sequence) and len(method) == 2 and callable(method[1])):
        raise CompareError(
            f"methods must be names or pairs of a name and a function of the model, got {method!r}"
        )
    return _checked_name(method[0]), method[1]


def _checked_name(name) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise CompareError(
            f"a method's name must be of letters, digits, '_', '-' and '.', got {name!r}"
        )
    if name in engine.METHODS:
        raise CompareError(f"a method's name must be new, got {name!r}, which is built in")
    return name


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, engine.METHODS, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "there is no such method;"
    known = ", ".join(engine.METHODS)
    return f"unknown method {name!r}: {hint} choose from {known}, or give your own as module:object"


def _load(dotted: str) -> Callable:
    """The object of ``module:object`` or ``file.py:object``."""
    place, _, name = dotted.rpartition(":")
    _checked_name(name)
    module = import_file(Path(place), "method") if place.endswith(".py") else _import(place, dotted)
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise CompareError(
            f"method {dotted!r}: {place} has no function or class {name!r}; it has "
            f"{', '.join(public) or 'none'}"
        )
    return found


def _import(place: str, dotted: str):
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise CompareError(
            f"method {dotted!r}: module {place!r} cannot be imported: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    finally:
        if added:
            sys.path.remove(here)


def import_file(path: Path, what: str = "model"):
    """Run a Python file as a module; its own directory is importable meanwhile.

    Args:
        path: the file.
        what: what is looked for there, for the messages.

    Raises:
        CompareError: if there is no such file, or it cannot be imported.
    """
    if not path.is_file():
        raise CompareError(f"{what} file {path} does not exist")
    spec = importlib.util.spec_from_file_location(f"_compared_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CompareError(f"{what} file {path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CompareError(
            f"{what} file {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(folder)
    return module
