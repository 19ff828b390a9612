"""Inference objects of the host: guides, their training, and the use of a trained guide."""

from .autoflow import AutoFlow
from .importance import ImportanceResult, importance_resample
from .starts import StartReport
from .training import FitError, FitResult, fit

__all__ = [
    "AutoFlow",
    "FitError",
    "FitResult",
    "ImportanceResult",
    "StartReport",
    "fit",
    "importance_resample",
]
