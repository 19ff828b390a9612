"""Linear transforms by the matrix exponential."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...nn import ConditionalParameters
from ...ops.linear import matvec, strict_lower
from .base import Transform

__all__ = ["MatrixExponential", "Rotation"]

MAX_NORM = 30.0


class MatrixExponential(Transform):
    r"""The transform :math:`y = e^{W} x + b`, with log-determinant :math:`\operatorname{tr} W`.

    Any matrix ``W`` gives an invertible one, and the inverse is :math:`e^{-W} (y - b)`. A ``W``
    whose rows exceed an absolute sum of 30 is scaled down to it, which keeps the image finite.
    Starts as the identity.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> MatrixExponential(2)(torch.ones(2)).tolist()
        [1.0, 1.0]

    References:
        Hoogeboom et al. 2020, The Convolution Exponential and Generalized Sylvester Flows,
        equations 5-7.
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.sizes = [self.input_dim, self.input_dim**2]
        self.parameter_net = ConditionalParameters(
            sum(self.sizes), context_dim, hidden_dims, activation
        )

    def _params(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        bias, entries = self.parameter_net(context).split(self.sizes, -1)
        matrix = entries.unflatten(-1, (self.input_dim, self.input_dim))
        norm = matrix.abs().sum(-1).amax(-1).clamp(min=MAX_NORM)
        matrix = matrix * (MAX_NORM / norm)[..., None, None]
        return bias, matrix, matrix.diagonal(dim1=-2, dim2=-1).sum(-1)

    def forward_and_log_det(self, x, context=None):
        bias, matrix, trace = self._params(context)
        y = matvec(torch.matrix_exp(matrix), x) + bias
        return y, trace.expand(y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        bias, matrix, trace = self._params(context)
        x = matvec(torch.matrix_exp(-matrix), y - bias)
        return x, -trace.expand(x.shape[:-1])


class Rotation(Transform):
    r"""The rotation :math:`y = e^{A - A^T} x`, which keeps volumes and distances.

    ``A`` is strictly lower triangular and starts at zero, the identity.

    Args:
        input_dim: number ``D`` of inputs; 1 leaves nothing to rotate.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> Rotation(3)(torch.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.parameter_net = ConditionalParameters(
            self.input_dim * (self.input_dim - 1) // 2, context_dim, hidden_dims, activation
        )

    def _rotation(self, context: Tensor | None) -> Tensor:
        lower = strict_lower(self.parameter_net(context), self.input_dim)
        return torch.matrix_exp(lower - lower.mT)

    def forward_and_log_det(self, x, context=None):
        y = matvec(self._rotation(context), x)
        return y, y.new_zeros(y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        x = matvec(self._rotation(context).mT, y)
        return x, x.new_zeros(x.shape[:-1])
