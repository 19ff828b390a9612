"""Learnable bijections."""

from .additive import AdditiveMap
from .affine import DenseAffine, FixedAffine, LowRankAffine
from .autoregressive import MaskedAutoregressive
from .base import Compose, ConditionedTransform, Inverse, Transform
from .coupling import Coupling
from .elementwise import (
    AffineMap,
    Elementwise,
    ElementwiseAffine,
    ElementwiseMap,
    RationalQuadraticMap,
    RationalQuadraticSpline,
)
from .linear import LULinear
from .mixture_logistic import DeepSigmoidalMap, MixtureLogisticMap
from .numerical import NumericalMap
from .permutation import Flip, Permutation
from .planar import Planar
from .splines import BoundedSpline, CircularSpline

__all__ = [
    "AdditiveMap",
    "AffineMap",
    "BoundedSpline",
    "CircularSpline",
    "Compose",
    "ConditionedTransform",
    "Coupling",
    "DeepSigmoidalMap",
    "DenseAffine",
    "Elementwise",
    "ElementwiseAffine",
    "ElementwiseMap",
    "FixedAffine",
    "Flip",
    "Inverse",
    "LULinear",
    "LowRankAffine",
    "MaskedAutoregressive",
    "MixtureLogisticMap",
    "NumericalMap",
    "Permutation",
    "Planar",
    "RationalQuadraticMap",
    "RationalQuadraticSpline",
    "Transform",
]
