"""Distributions that are networks, and the flows' recipes."""

from .bases import FullNormal, MixtureOfNormals, StandardNormal, StudentT
from .flow import Flow, FlowDistribution
from .mixture_flow import MixtureFlow, MixtureFlowDistribution
from .recipes import iaf, maf, nsf, planar, realnvp

__all__ = [
    "Flow",
    "FlowDistribution",
    "FullNormal",
    "MixtureFlow",
    "MixtureFlowDistribution",
    "MixtureOfNormals",
    "StandardNormal",
    "StudentT",
    "iaf",
    "maf",
    "nsf",
    "planar",
    "realnvp",
]
