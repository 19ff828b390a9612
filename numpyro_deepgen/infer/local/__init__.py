"""Guides of the local latent variables inside data plates."""

from .guides import LocalGuides
from .local_flow import LocalFlow, as_local_flows

__all__ = ["LocalFlow", "LocalGuides", "as_local_flows"]
