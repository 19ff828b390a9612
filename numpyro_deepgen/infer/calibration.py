"""Simulation-based calibration of any posterior sampler, by ranks.

Draw parameters from the prior and data from the model (``Predictive``), draw from the posterior
given each data set, count with :func:`rank_statistics` and test with :func:`uniformity`.
"""

from .._numerics.calibration import Uniformity, rank_statistics, uniformity

__all__ = ["Uniformity", "rank_statistics", "uniformity"]
