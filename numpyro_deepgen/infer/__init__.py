"""Inference objects of the host: guides and their training."""

from .autoflow import AutoFlow
from .fit import fit
from .fit_result import FitError, FitResult
from .starts import StartReport

__all__ = ["AutoFlow", "FitError", "FitResult", "StartReport", "fit"]
