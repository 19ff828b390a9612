"""Distributions that are networks, and the flows' recipes."""

from .bases import FullNormal, MixtureOfNormals, StandardNormal, StudentT
from .fixed_mixture import FixedMixture
from .flow import Flow, FlowDistribution
from .mixture_flow import MixtureFlow, MixtureFlowDistribution
from .recipes import flowpp, iaf, maf, nice, nsf, realnvp
from .recipes_low_rank import planar, radial, sylvester
from .recipes_numerical import bnaf, gaussianization, naf, sospf, unaf

__all__ = [
    "FixedMixture",
    "Flow",
    "FlowDistribution",
    "FullNormal",
    "MixtureFlow",
    "MixtureFlowDistribution",
    "MixtureOfNormals",
    "StandardNormal",
    "StudentT",
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
