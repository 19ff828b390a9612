"""What the host says of a step, where a fit says it itself."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pyro import poutine

__all__ = ["first_lines", "quiet", "without_searching"]


def first_lines(error: Exception) -> str:
    """The first line of an error's message, and the next one where it ends with a colon."""
    lines = str(error).splitlines() or [""]
    return " ".join(lines[: 1 + lines[0].endswith(":")])


@contextmanager
def quiet() -> Iterator[None]:
    """Without the host's warnings of NaN, which are told as errors here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]?inf)")
        yield


@contextmanager
def without_searching() -> Iterator[None]:
    """Without what ``poutine`` validates, above all a search of each site and gradient for NaN.

    A step looks at the loss and all gradients itself. The signs of tensors of ``poutine.scale`` and
    the sizes in ``pyro.subsample`` are checked in the first run alone then; the checks of
    distributions, plates and of model against guide go on.
    """
    searches = poutine.is_validation_enabled()
    poutine.enable_validation(False)
    try:
        yield
    finally:
        poutine.enable_validation(searches)
