"""Products of reflections."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

from ..._numerics.checks import check_positive_int
from ...nn import ConditionalParameters
from ...ops._random import check_rng_key
from ...ops.linear import reflect
from .base import Transform

__all__ = ["Householder"]


class Householder(Transform):
    r"""The orthogonal transform :math:`y = H_K \cdots H_1 x`.

    The factors are reflections, :math:`H_k = I - 2 v_k v_k^T / |v_k|^2`. Volumes are kept; both
    directions cost ``K * D`` operations a point. Reflections start in equal pairs, so that an even
    number starts as the identity; an odd one starts as one reflection.

    Args:
        rng_key: random key of the reflections and of the network of the context.
        input_dim: number ``D`` of inputs.
        num_reflections: number ``K`` of reflections.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> Householder(jax.random.key(0), 3, num_reflections=2)(jnp.ones((4, 3))).shape
        (4, 3)

    References:
        Tomczak & Welling 2016, Improving Variational Auto-Encoders using Householder Flow,
        equation 8.
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        num_reflections: int = 2,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.num_reflections = check_positive_int("num_reflections", num_reflections)
        normals_key, network_key = jax.random.split(check_rng_key(rng_key))
        shape = ((self.num_reflections + 1) // 2, self.input_dim)
        normals = jax.random.normal(normals_key, shape)
        init = jnp.repeat(normals, 2, 0)[: self.num_reflections].reshape(-1)
        self.parameter_net = ConditionalParameters(
            network_key, init.size, context_dim, hidden_dims, activation, init
        )

    def _normals(self, context: Array | None) -> list[Array]:
        return jnp.split(self.parameter_net(context), self.num_reflections, -1)

    def forward_and_log_det(self, x, context=None):
        y = reflect(x, self._normals(context))
        return y, jnp.zeros(y.shape[:-1], y.dtype)

    def inverse_and_log_det(self, y, context=None):
        x = reflect(y, self._normals(context)[::-1])
        return x, jnp.zeros(x.shape[:-1], x.dtype)
