"""Run SVI guides and MCMC on one posterior and say which to trust.

Example:
    >>> from numpyro_deepgen.compare import PROBLEMS, compare
    >>> problem = PROBLEMS["eight_schools"]
    >>> comparison = compare(
    ...     problem.model,
    ...     kwargs=problem.data,
    ...     methods=["auto_normal"],
    ...     reference=problem.reference_fn(2000),
    ...     num_steps=100,
    ...     progress=False,
    ... )
    >>> comparison["auto_normal"].verdict.level == "trust"
    False
"""

from .comparison import Comparison
from .engine import METHODS, check_model
from .errors import CompareError, DataError, FitError, ModelError
from .hosts import compare_hosts
from .problems import PROBLEMS, Problem
from .results import Estimate, MethodResult, ModelSummary, Reference, Verdict
from .run import compare
from .settings import Settings

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
    "compare_hosts",
]
