"""Reordering of inputs."""

from collections.abc import Sequence

import torch

from ..._numerics.checks import check_permutation, check_positive_int
from .base import Transform

__all__ = ["Flip", "Permutation"]


class Permutation(Transform):
    r"""The permutation :math:`y_i = x_{\pi(i)}`; both directions are free.

    Args:
        permutation: each of ``0, ..., D - 1`` once.

    Example:
        >>> import torch
        >>> Permutation([2, 0, 1])(torch.tensor([1.0, 2.0, 3.0])).tolist()
        [3.0, 1.0, 2.0]
    """

    def __init__(self, permutation: Sequence[int]):
        super().__init__(len(permutation))
        self.permutation = check_permutation("permutation", permutation, len(permutation))
        index = torch.tensor(self.permutation)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("inverse_index", index.argsort(), persistent=False)

    def forward_and_log_det(self, x, context=None):
        return x[..., self.index], x.new_zeros(x.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        return y[..., self.inverse_index], y.new_zeros(y.shape[:-1])


class Flip(Permutation):
    r"""The inputs in reverse order.

    Args:
        input_dim: number of inputs.

    Example:
        >>> import torch
        >>> Flip(3)(torch.tensor([1.0, 2.0, 3.0])).tolist()
        [3.0, 2.0, 1.0]
    """

    def __init__(self, input_dim: int):
        size = check_positive_int("input_dim", input_dim)
        super().__init__(tuple(reversed(range(size))))
