"""Learnable bijections."""

from .additive import AdditiveMap
from .affine import DenseAffine, FixedAffine, LowRankAffine
from .autoregressive import MaskedAutoregressive
from .base import Compose, ConditionedTransform, Inverse, Transform
from .block_autoregressive import BlockNeuralAutoregressive
from .coupling import Coupling
from .elementwise import (
    AffineMap,
    Elementwise,
    ElementwiseAffine,
    ElementwiseMap,
    RationalQuadraticMap,
    RationalQuadraticSpline,
)
from .gaussianization import GaussianizationMap
from .householder import Householder
from .integral import IntegralMap
from .linear import LULinear
from .matrix_exponential import MatrixExponential, Rotation
from .mixture_logistic import DeepSigmoidalMap, MixtureLogisticMap
from .normalization import ActNorm, BatchNorm
from .numerical import NumericalMap
from .permutation import Flip, Permutation
from .planar import Planar
from .radial import Radial
from .scan import Scan
from .splines import BoundedSpline, CircularSpline
from .sum_of_squares import SumOfSquaresMap
from .sylvester import Sylvester
from .to_support import ToSupport
from .unconstrained_monotonic import UnconstrainedMonotonicMap

__all__ = [
    "ActNorm",
    "AdditiveMap",
    "AffineMap",
    "BatchNorm",
    "BlockNeuralAutoregressive",
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
    "GaussianizationMap",
    "Householder",
    "IntegralMap",
    "Inverse",
    "LULinear",
    "LowRankAffine",
    "MaskedAutoregressive",
    "MatrixExponential",
    "MixtureLogisticMap",
    "NumericalMap",
    "Permutation",
    "Planar",
    "Radial",
    "RationalQuadraticMap",
    "RationalQuadraticSpline",
    "Rotation",
    "Scan",
    "SumOfSquaresMap",
    "Sylvester",
    "ToSupport",
    "Transform",
    "UnconstrainedMonotonicMap",
]
