"""Classes."""

from dataclasses import dataclass

import numpy as np
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ..._numerics.marginals import class_log_probs
from .base import Conditional

__all__ = ["CategoricalConditional"]


@dataclass(frozen=True)
class CategoricalConditional(Conditional):
    """One of the classes ``0, ..., num_classes - 1``, by unnormalised log-probabilities.

    Args:
        num_classes: number of classes.

    Example:
        >>> import torch
        >>> CategoricalConditional(17)(torch.zeros(5, 17)).batch_shape
        torch.Size([5])
    """

    num_classes: int

    def __post_init__(self):
        check_positive_int("num_classes", self.num_classes)

    @property
    def num_params(self) -> int:
        return self.num_classes

    def __call__(self, params: Tensor) -> Distribution:
        return dist.Categorical(logits=params)

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        return class_log_probs(x, self.num_classes)
