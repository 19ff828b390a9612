"""Importance resampling of a trained guide."""

from .resampling import importance_resample
from .result import ImportanceResult

__all__ = ["ImportanceResult", "importance_resample"]
