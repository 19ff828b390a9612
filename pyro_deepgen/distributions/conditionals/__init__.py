"""Families of distributions of one element, by the numbers that a network gives for it."""

from .base import Conditional
from .bernoulli import BernoulliConditional
from .categorical import CategoricalConditional
from .discretized_logistic import (
    DiscretizedLogisticConditional,
    DiscretizedLogisticMixtureConditional,
)
from .mixture import MixtureConditional
from .multivariate_normal import LowRankNormalConditional, MultivariateNormalConditional
from .normal import NormalConditional, StudentTConditional

__all__ = [
    "BernoulliConditional",
    "CategoricalConditional",
    "Conditional",
    "DiscretizedLogisticConditional",
    "DiscretizedLogisticMixtureConditional",
    "LowRankNormalConditional",
    "MixtureConditional",
    "MultivariateNormalConditional",
    "NormalConditional",
    "StudentTConditional",
]
