"""Distributions that are networks, and the flows' recipes."""

from .bases import StandardNormal
from .flow import Flow, FlowDistribution
from .recipes import iaf, maf, nsf, planar, realnvp

__all__ = [
    "Flow",
    "FlowDistribution",
    "StandardNormal",
    "iaf",
    "maf",
    "nsf",
    "planar",
    "realnvp",
]
