"""Gaussian starts of guides, and their comparison."""

from .starts import ANNEALED, STARTS, StartReport, best_start, check_starts

__all__ = ["ANNEALED", "STARTS", "StartReport", "best_start", "check_starts"]
