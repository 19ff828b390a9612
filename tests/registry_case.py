"""What a case of the registry says, and the dimensions in which the laws run over it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

__all__ = ["Case", "journeys"]


def _line(points: np.ndarray) -> np.ndarray:
    return points


def _of_points(network, x, context):
    return network(x)


@dataclass(frozen=True)
class Case:
    """How to build one object.

    Args:
        covers: the public name, ``subpackage.name``.
        build: maps backend, input dimension and context dimension to the object.
        variant: which of several cases of the name this is.
        takes_context: whether there is a variant with a context.
        starts_as_identity: whether the object as built is the identity (or standard normal).
        has_rsample: whether samples of a distribution are reparameterised.
        tolerance: absolute error allowed in double precision.
        domain: takes real vectors to points of the domain.
        codomain: takes real vectors to points of the codomain; default those of the domain.
        call: evaluates a network at points and a context.
        cost: by default 0 runs in the middle dimension, and on Pyro in the first; 1 on Pyro in the
            middle one; 2 in none; the slow tests run the rest.
    """

    covers: str
    build: Callable
    variant: str = ""
    takes_context: bool = True
    starts_as_identity: bool = True
    has_rsample: bool = True
    tolerance: float = 1e-8
    domain: Callable = _line
    codomain: Callable | None = None
    call: Callable = _of_points
    cost: int = 0

    def __str__(self) -> str:
        name = self.covers.rsplit(".")[-1]
        return f"{name}-{self.variant}" if self.variant else name

    def image(self, points: np.ndarray) -> np.ndarray:
        """Take real vectors to points of the codomain."""
        return (self.codomain or self.domain)(points)


def journeys(cases, dims) -> list:
    """Cases with ``(input_dim, context_dim)``; contexts are dropped where none is taken.

    The first of the dimensions is the edge case, the middle one the usual case.
    """
    found = []
    for case in cases:
        seen = []
        middle = dims[len(dims) // 2]
        for dim in [middle, *dims]:
            journey = (case, dim[0], dim[1] if case.takes_context else 0)
            if journey in seen:
                continue
            seen.append(journey)
            if dim == middle and case.cost < 2:
                marks = ()
            elif dim == dims[0] and case.cost == 0:
                marks = pytest.mark.compiles
            else:
                marks = pytest.mark.slow
            found.append(pytest.param(*journey, marks=marks))
    return found
