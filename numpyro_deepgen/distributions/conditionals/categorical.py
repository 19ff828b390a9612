"""Classes."""

from dataclasses import dataclass

import numpy as np
from jax import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution

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
        >>> import jax.numpy as jnp
        >>> CategoricalConditional(17)(jnp.zeros((5, 17))).batch_shape
        (5,)
    """

    num_classes: int

    def __post_init__(self):
        check_positive_int("num_classes", self.num_classes)

    @property
    def num_params(self) -> int:
        return self.num_classes

    def __call__(self, params: Array) -> Distribution:
        return dist.Categorical(logits=params)

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        return class_log_probs(x, self.num_classes)
