"""Gaussian starts of guides, and their comparison."""

from .starts import ANNEALED, DEFAULT_STARTS, StartReport, best_start, check_starts

__all__ = ["ANNEALED", "DEFAULT_STARTS", "StartReport", "best_start", "check_starts"]
