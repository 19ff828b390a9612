"""Learnable bijections."""

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
from .permutation import Flip, Permutation
from .planar import Planar

__all__ = [
    "AffineMap",
    "Compose",
    "ConditionedTransform",
    "Coupling",
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
    "Permutation",
    "Planar",
    "RationalQuadraticMap",
    "RationalQuadraticSpline",
    "Transform",
]
