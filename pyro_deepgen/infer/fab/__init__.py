"""Mass-covering training of a guide by annealed importance sampling."""

from .fit_fab import fit_fab

__all__ = ["fit_fab"]
