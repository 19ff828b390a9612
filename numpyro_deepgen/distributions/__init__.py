"""Distributions that are networks, and the flows' recipes."""

from .amortized_flow import AmortizedFlow
from .autoregressive_normal import AutoregressiveNormal
from .bases import FullNormal, MixtureOfNormals, StandardNormal, StudentT
from .conditional_distribution import ConditionalDistribution
from .discretized import DiscretizedLogistic, DiscretizedLogisticMixture
from .fixed_mixture import FixedMixture
from .flow import Flow, FlowDistribution
from .mixture_flow import MixtureFlow, MixtureFlowDistribution
from .recipes import flowpp, iaf, maf, nice, nsf, realnvp
from .recipes_low_rank import planar, radial, sylvester
from .recipes_numerical import bnaf, gaussianization, naf, sospf, unaf
from .residual_normal import ResidualNormal
from .vamp_prior import VampPrior
from .vector_quantized import CodebookPrior, VectorQuantized

__all__ = [
    "AmortizedFlow",
    "AutoregressiveNormal",
    "CodebookPrior",
    "ConditionalDistribution",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "FixedMixture",
    "Flow",
    "FlowDistribution",
    "FullNormal",
    "MixtureFlow",
    "MixtureFlowDistribution",
    "MixtureOfNormals",
    "ResidualNormal",
    "StandardNormal",
    "StudentT",
    "VampPrior",
    "VectorQuantized",
    "bnaf",
    "flowpp",
    "gaussianization",
    "iaf",
    "maf",
    "naf",
    "nice",
    "nsf",
    "planar",
    "radial",
    "realnvp",
    "sospf",
    "sylvester",
    "unaf",
]
