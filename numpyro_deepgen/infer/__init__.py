"""Inference objects of the host: guides."""

from .autoflow import AutoFlow
from .starts import StartReport

__all__ = ["AutoFlow", "StartReport"]
