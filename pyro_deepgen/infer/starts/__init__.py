"""Gaussian starts of guides, and their comparison."""

from .starts import ANNEALED, StartReport, best_start, check_starts

__all__ = ["ANNEALED", "StartReport", "best_start", "check_starts"]
