"""Training of a guide: a loop over the host's SVI with checkpoints."""

from .fit import fit
from .muon import muon
from .result import FitError, FitResult

__all__ = ["FitError", "FitResult", "fit", "muon"]
