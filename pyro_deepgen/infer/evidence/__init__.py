"""What a trained pair is worth: its evidence, and what its latent variables carry."""

from ..._numerics.latent_statistics import LatentStatistics
from .latent_statistics import latent_statistics
from .log_evidence import log_evidence
from .result import EvidenceResult

__all__ = ["EvidenceResult", "LatentStatistics", "latent_statistics", "log_evidence"]
