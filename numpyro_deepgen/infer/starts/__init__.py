"""Gaussian starts of guides, and their comparison."""

from .starts import StartReport, best_start, check_starts

__all__ = ["StartReport", "best_start", "check_starts"]
