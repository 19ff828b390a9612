"""Linear transforms by the matrix exponential."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import expm

from ...nn import ConditionalParameters
from ...ops._clamp import clamp
from ...ops.linear import matvec, strict_lower
from .base import Transform

__all__ = ["MatrixExponential", "Rotation"]

MAX_NORM = 30.0
# squarings that the exponential may use: enough for any finite norm that matters
MAX_SQUARINGS = 24


class MatrixExponential(Transform):
    r"""The transform :math:`y = e^{W} x + b`, with log-determinant :math:`\operatorname{tr} W`.

    Any matrix ``W`` gives an invertible one, and the inverse is :math:`e^{-W} (y - b)`. A ``W``
    whose rows exceed an absolute sum of 30 is scaled down to it, which keeps the image finite.
    Starts as the identity.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> MatrixExponential(jax.random.key(0), 2)(jnp.ones(2)).tolist()
        [1.0, 1.0]

    References:
        Hoogeboom et al. 2020, The Convolution Exponential and Generalized Sylvester Flows,
        equations 5-7.
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.sizes = (self.input_dim, self.input_dim**2)
        self.parameter_net = ConditionalParameters(
            rng_key, sum(self.sizes), context_dim, hidden_dims, activation
        )

    def _params(self, context: Array | None) -> tuple[Array, Array, Array]:
        bias, entries = jnp.split(self.parameter_net(context), [self.input_dim], -1)
        matrix = entries.reshape(entries.shape[:-1] + (self.input_dim, self.input_dim))
        norm = clamp(jnp.abs(matrix).sum(-1).max(-1), MAX_NORM)
        matrix = matrix * (MAX_NORM / norm)[..., None, None]
        return bias, matrix, jnp.trace(matrix, axis1=-2, axis2=-1)

    def forward_and_log_det(self, x, context=None):
        bias, matrix, trace = self._params(context)
        y = matvec(_expm(matrix), x) + bias
        return y, jnp.broadcast_to(trace, y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        bias, matrix, trace = self._params(context)
        x = matvec(_expm(-matrix), y - bias)
        return x, jnp.broadcast_to(-trace, x.shape[:-1])


class Rotation(Transform):
    r"""The rotation :math:`y = e^{A - A^T} x`, which keeps volumes and distances.

    ``A`` is strictly lower triangular and starts at zero, the identity.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs; 1 leaves nothing to rotate.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> Rotation(jax.random.key(0), 3)(jnp.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.parameter_net = ConditionalParameters(
            rng_key,
            self.input_dim * (self.input_dim - 1) // 2,
            context_dim,
            hidden_dims,
            activation,
        )

    def _rotation(self, context: Array | None) -> Array:
        lower = strict_lower(self.parameter_net(context), self.input_dim)
        return _expm(lower - lower.mT)

    def forward_and_log_det(self, x, context=None):
        y = matvec(self._rotation(context), x)
        return y, jnp.zeros(y.shape[:-1], y.dtype)

    def inverse_and_log_det(self, y, context=None):
        x = matvec(self._rotation(context).mT, y)
        return x, jnp.zeros(x.shape[:-1], x.dtype)


def _expm(matrix: Array) -> Array:
    return expm(matrix, max_squarings=MAX_SQUARINGS)
