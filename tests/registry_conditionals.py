"""Cases of the conditionals: by name, how to build one, and the values of one element."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

__all__ = ["CONDITIONALS", "ConditionalCase", "covered_conditionals"]


@dataclass(frozen=True)
class ConditionalCase:
    """How to build one conditional.

    Args:
        covers: its public name.
        build: maps the subpackage of conditionals to it.
        num_params: how many numbers it takes.
        values: all values of one element, None if there is no end of them.
        event_shape: shape of one element.
        variant: which of several cases of the name this is.
    """

    covers: str
    build: Callable
    num_params: int
    values: np.ndarray | None = None
    event_shape: tuple[int, ...] = ()
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.covers}-{self.variant}" if self.variant else self.covers


PIXELS = np.array(list(product(range(4), repeat=3)))

CONDITIONALS = [
    ConditionalCase("BernoulliConditional", lambda c: c.BernoulliConditional(), 1, np.arange(2)),
    ConditionalCase(
        "CategoricalConditional", lambda c: c.CategoricalConditional(5), 5, np.arange(5)
    ),
    ConditionalCase("NormalConditional", lambda c: c.NormalConditional(), 2),
    ConditionalCase(
        "NormalConditional", lambda c: c.NormalConditional(0.1, 0.9), 2, variant="bounded"
    ),
    ConditionalCase("StudentTConditional", lambda c: c.StudentTConditional(), 3),
    ConditionalCase(
        "MultivariateNormalConditional",
        lambda c: c.MultivariateNormalConditional(3),
        9,
        event_shape=(3,),
    ),
    ConditionalCase(
        "LowRankNormalConditional",
        lambda c: c.LowRankNormalConditional(3, 2),
        12,
        event_shape=(3,),
    ),
    ConditionalCase(
        "MixtureConditional", lambda c: c.MixtureConditional(c.NormalConditional(), 4), 12
    ),
    ConditionalCase(
        "MixtureConditional",
        lambda c: c.MixtureConditional(c.MultivariateNormalConditional(2), 3),
        18,
        event_shape=(2,),
        variant="vector",
    ),
    ConditionalCase(
        "DiscretizedLogisticConditional",
        lambda c: c.DiscretizedLogisticConditional(-1, 7),
        2,
        np.arange(-1, 8),
    ),
    ConditionalCase(
        "DiscretizedLogisticMixtureConditional",
        lambda c: c.DiscretizedLogisticMixtureConditional(3, 0, 16),
        9,
        np.arange(17),
    ),
    ConditionalCase(
        "DiscretizedLogisticMixtureConditional",
        lambda c: c.DiscretizedLogisticMixtureConditional(2, 0, 3, channels=3),
        20,
        PIXELS,
        (3,),
        variant="channels",
    ),
]


def covered_conditionals() -> set[str]:
    """The public names with a case, and the interface that all share."""
    return {case.covers for case in CONDITIONALS} | {"Conditional"}
