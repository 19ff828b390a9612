"""Bounds on the evidence, and objectives beside them."""

from .beta import BetaELBO
from .black_box_alpha import BlackBoxAlphaELBO
from .penalized import PenalizedELBO, spectral_penalty
from .renyi import IWELBO, STLELBO, RenyiELBO
from .schedules import KLCycle, KLWarmup
from .tempered import TemperedELBO
from .wae import WAEMMD
from .wake_sleep import ReweightedWakeSleep

__all__ = [
    "BetaELBO",
    "BlackBoxAlphaELBO",
    "IWELBO",
    "KLCycle",
    "KLWarmup",
    "PenalizedELBO",
    "RenyiELBO",
    "ReweightedWakeSleep",
    "TemperedELBO",
    "STLELBO",
    "WAEMMD",
    "spectral_penalty",
]
