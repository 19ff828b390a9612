"""What the host says of a step, where a fit says it itself."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pyro import poutine

__all__ = ["first_lines", "quiet", "without_searching"]


def first_lines(error: Exception) -> str:
    """The message of an error, without what follows the first full line."""
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
    """Without the host's search of each site and its gradient for NaN, as a step looks at all.

    The checks of distributions and of the structure of model and guide go on.
    """
    searches = poutine.is_validation_enabled()
    poutine.enable_validation(False)
    try:
        yield
    finally:
        poutine.enable_validation(searches)
