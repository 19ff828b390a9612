"""Run SVI guides and MCMC on one posterior and say which to trust."""

from .comparison import Comparison
from .engine import METHODS, check_model
from .errors import CompareError, DataError, FitError, ModelError
from .problems import PROBLEMS, Problem
from .results import Estimate, MethodResult, ModelSummary, Reference, Settings, Verdict
from .run import compare

__all__ = [
    "METHODS",
    "PROBLEMS",
    "CompareError",
    "Comparison",
    "DataError",
    "Estimate",
    "FitError",
    "MethodResult",
    "ModelError",
    "ModelSummary",
    "Problem",
    "Reference",
    "Settings",
    "Verdict",
    "check_model",
    "compare",
]
