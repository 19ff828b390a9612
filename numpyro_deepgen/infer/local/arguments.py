"""Features and indices of a minibatch, found among the arguments of a model."""

import inspect
from collections.abc import Callable, Sequence

__all__ = ["arguments_by_name", "find_features", "resolve", "signature_of"]


def arguments_by_name(model: Callable, args: tuple, kwargs: dict) -> dict:
    """Arguments of a call of the model, by name; defaults included."""
    bound = inspect.signature(model).bind(*args, **kwargs)
    bound.apply_defaults()
    found = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found |= {f"{name}[{i}]": entry for i, entry in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found


def resolve(what, role: str, model: Callable, args: tuple, kwargs: dict) -> list:
    """The arrays that a function of the arguments, or names of arguments, stand for."""
    if callable(what):
        found = what(*args, **kwargs)
        return list(found) if isinstance(found, (tuple, list)) else [found]
    names = (what,) if isinstance(what, str) else tuple(what)
    arguments = arguments_by_name(model, args, kwargs)
    for name in names:
        if not hasattr(arguments.get(name), "shape"):
            raise ValueError(
                f"{role} must name array arguments of the model, got {name!r}; its arguments here "
                f"are {sorted(arguments)}."
            )
    return [arguments[name] for name in names]


def find_features(
    model: Callable, args: tuple, kwargs: dict, plate: str, size: int, full_size: int
) -> Sequence[str]:
    """Names of the array arguments with a row for each datum of a plate.

    Raises:
        ValueError: if there are none.
    """
    arguments = arguments_by_name(model, args, kwargs)
    rows = {
        name: value.shape[0]
        for name, value in arguments.items()
        if hasattr(value, "shape") and len(value.shape) > 0
    }
    for count in (full_size, size):
        names = tuple(name for name, number in rows.items() if number == count)
        if names:
            return names
    raise ValueError(
        f"features must be given where no argument of the model has a row for each of the "
        f"{full_size} data of plate {plate!r} or of the {size} of its minibatch, got the arguments "
        f"{sorted(arguments)}; pass LocalFlow(features=function), or LocalFlow(per_datum='full') "
        "for a guide without an encoder."
    )


def signature_of(args: tuple, kwargs: dict) -> tuple:
    """What the sizes of plates may depend on: shapes of arrays, and whole numbers and texts."""

    def describe(value):
        if hasattr(value, "shape"):
            return tuple(value.shape)
        if isinstance(value, (tuple, list)):
            return (type(value), *(describe(entry) for entry in value))
        if isinstance(value, dict):
            return tuple((key, describe(entry)) for key, entry in value.items())
        return value if isinstance(value, (bool, int, str, type(None))) else type(value)

    return describe(args), describe(dict(sorted(kwargs.items())))
