"""Bits."""

from dataclasses import dataclass

import numpy as np
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor

from ..._numerics.marginals import log_odds
from .base import Conditional

__all__ = ["BernoulliConditional"]


@dataclass(frozen=True)
class BernoulliConditional(Conditional):
    """A bit, by its log-odds.

    Example:
        >>> import torch
        >>> BernoulliConditional()(torch.zeros(5, 1)).batch_shape
        torch.Size([5])
    """

    @property
    def num_params(self) -> int:
        return 1

    def __call__(self, params: Tensor) -> Distribution:
        return dist.Bernoulli(logits=params[..., 0])

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        return log_odds(x)
