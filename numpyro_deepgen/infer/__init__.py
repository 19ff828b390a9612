"""Inference objects of the host: guides, their training, and the use of a trained guide."""

from .annealing import (
    AnnealedResult,
    AnnealingError,
    CoverageResult,
    annealed_particles,
    coverage,
)
from .autoflow import AutoFlow
from .calibration import Uniformity, rank_statistics, uniformity
from .elbo import (
    IWELBO,
    STLELBO,
    WAEMMD,
    BetaELBO,
    BlackBoxAlphaELBO,
    KLCycle,
    KLWarmup,
    PenalizedELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    TemperedELBO,
    spectral_penalty,
)
from .evidence import EvidenceResult, LatentStatistics, latent_statistics, log_evidence
from .fab import fit_fab
from .importance import ImportanceResult, importance_resample
from .local import LocalFlow
from .mcmc import FlowIndependence
from .refinement import RefinedGuide, refine
from .starts import StartReport
from .top_down import TopDown
from .training import FitError, FitResult, fit, muon

__all__ = [
    "AnnealedResult",
    "AnnealingError",
    "AutoFlow",
    "BetaELBO",
    "BlackBoxAlphaELBO",
    "CoverageResult",
    "EvidenceResult",
    "FitError",
    "FitResult",
    "FlowIndependence",
    "IWELBO",
    "ImportanceResult",
    "KLCycle",
    "KLWarmup",
    "LatentStatistics",
    "LocalFlow",
    "PenalizedELBO",
    "RefinedGuide",
    "RenyiELBO",
    "ReweightedWakeSleep",
    "STLELBO",
    "StartReport",
    "TemperedELBO",
    "TopDown",
    "Uniformity",
    "WAEMMD",
    "annealed_particles",
    "coverage",
    "fit",
    "fit_fab",
    "importance_resample",
    "latent_statistics",
    "log_evidence",
    "muon",
    "rank_statistics",
    "refine",
    "spectral_penalty",
    "uniformity",
]
