"""Inference objects of the host: guides, their training, and the use of a trained guide."""

from .autoflow import AutoFlow
from .fit import fit
from .fit_result import FitError, FitResult
from .importance import importance_resample
from .importance_result import ImportanceResult
from .starts import StartReport

__all__ = [
    "AutoFlow",
    "FitError",
    "FitResult",
    "ImportanceResult",
    "StartReport",
    "fit",
    "importance_resample",
]
