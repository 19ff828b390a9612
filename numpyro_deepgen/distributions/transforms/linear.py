"""Invertible linear layers."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from ...nn import ConditionalParameters
from ...ops.linear import bounded_exp, strict_lower, unit_lower_solve
from .base import Transform

__all__ = ["LULinear"]


class LULinear(Transform):
    r"""The transform :math:`y = L U x + b` with triangular factors.

    ``L`` is unit lower triangular and ``U = e^{s} (I + N)`` (rows scaled), ``N`` strictly upper
    triangular; the log-determinant is :math:`\sum_i s_i`, :math:`|s_i| < 30`. Both directions cost
    ``D^2`` operations a point. Starts as the identity.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> LULinear(jax.random.key(0), 2)(jnp.ones(2)).tolist()
        [1.0, 1.0]

    References:
        Kingma & Dhariwal 2018, Glow, equations 10-11; Oliva et al. 2018, Transformation
        Autoregressive Networks, section 3.2.
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
        half = self.input_dim * (self.input_dim - 1) // 2
        self.sizes = (self.input_dim, self.input_dim, half, half)
        self.parameter_net = ConditionalParameters(
            rng_key, sum(self.sizes), context_dim, hidden_dims, activation
        )

    def _params(self, context: Array | None):
        params = self.parameter_net(context)
        bias, log_scale, lower, upper = jnp.split(params, np.cumsum(self.sizes)[:-1], -1)
        log_scale = bounded_exp(log_scale)[1]
        lower = strict_lower(lower, self.input_dim)
        # U is solved with reversed rows and columns, where it is lower triangular
        return bias, log_scale, lower, strict_lower(upper, self.input_dim)

    def forward_and_log_det(self, x, context=None):
        bias, log_scale, lower, upper = self._params(context)
        reversed_x = jnp.flip(x, -1)
        u = jnp.exp(log_scale) * (x + jnp.flip(jnp.matvec(upper, reversed_x), -1))
        y = u + jnp.matvec(lower, u) + bias
        return y, jnp.broadcast_to(log_scale.sum(-1), y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        bias, log_scale, lower, upper = self._params(context)
        u = unit_lower_solve(lower, y - bias) * jnp.exp(-log_scale)
        x = jnp.flip(unit_lower_solve(upper, jnp.flip(u, -1)), -1)
        return x, jnp.broadcast_to(-log_scale.sum(-1), x.shape[:-1])
