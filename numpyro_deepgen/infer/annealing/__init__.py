"""Annealing to posteriors of several modes, and what it says of a guide."""

from .annealed import AnnealingError, annealed_particles
from .coverage import coverage
from .coverage_result import CoverageResult
from .result import AnnealedResult

__all__ = ["AnnealedResult", "AnnealingError", "CoverageResult", "annealed_particles", "coverage"]
