"""Checks of what model and guide are called with."""

from collections.abc import Callable, Iterable, Mapping

__all__ = ["check_arguments", "check_callables", "check_holds"]


def check_arguments(name: str, args: tuple | None, kwargs: dict | None) -> tuple[tuple, dict]:
    """Return ``(args, kwargs)`` of a model, or raise if they are no tuple and dictionary."""
    if args is not None and not isinstance(args, (tuple, list)):
        raise TypeError(
            f"{name}args must be a tuple of the model's arguments, got {type(args).__name__}; "
            "pass for example (data,)."
        )
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError(
            f"{name}kwargs must be a dictionary, got {type(kwargs).__name__}; pass for example "
            "{'data': data}."
        )
    return tuple(args or ()), dict(kwargs or {})


def check_callables(**functions: Callable) -> None:
    """Raise if an argument that must be a function is none."""
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(
                f"{name} must be callable, got {type(function).__name__}; pass a function or a "
                "module of the host."
            )


def check_holds(samples: Mapping, names: Iterable[str]) -> None:
    """Raise if samples do not hold every latent site."""
    for name in names:
        if name not in samples:
            raise ValueError(
                f"samples must hold every latent site, got {sorted(samples)} without {name!r}; "
                "add its values."
            )
