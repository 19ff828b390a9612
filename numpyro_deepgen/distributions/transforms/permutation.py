"""Reordering of inputs."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ..._numerics.checks import check_permutation, check_positive_int
from .base import Transform

__all__ = ["Flip", "Permutation"]


class Permutation(Transform):
    r"""The permutation :math:`y_i = x_{\pi(i)}`; both directions are free.

    Args:
        permutation: each of ``0, ..., D - 1`` once.

    Example:
        >>> import jax.numpy as jnp
        >>> Permutation([2, 0, 1])(jnp.array([1.0, 2.0, 3.0])).tolist()
        [3.0, 1.0, 2.0]
    """

    def __init__(self, permutation: Sequence[int]):
        super().__init__(len(permutation))
        self.permutation = check_permutation("permutation", permutation, len(permutation))

    def forward_and_log_det(self, x, context=None):
        index = np.asarray(self.permutation)
        return x[..., index], jnp.zeros(x.shape[:-1], x.dtype)

    def inverse_and_log_det(self, y, context=None):
        index = np.argsort(self.permutation)
        return y[..., index], jnp.zeros(y.shape[:-1], y.dtype)


class Flip(Permutation):
    r"""The inputs in reverse order.

    Args:
        input_dim: number of inputs.

    Example:
        >>> import jax.numpy as jnp
        >>> Flip(3)(jnp.array([1.0, 2.0, 3.0])).tolist()
        [3.0, 2.0, 1.0]
    """

    def __init__(self, input_dim: int):
        size = check_positive_int("input_dim", input_dim)
        super().__init__(tuple(reversed(range(size))))
