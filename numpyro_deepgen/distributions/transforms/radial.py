"""Radial transforms, with a closed inverse."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

from ...nn import ConditionalParameters
from ...ops._random import check_rng_key
from .base import Transform

__all__ = ["Radial"]

MAX_LOG_SLOPE = 7.0


class Radial(Transform):
    r"""The transform :math:`y = x + \beta \, (x - x_0) / (\alpha + r)`, :math:`r = |x - x_0|`.

    Points are moved along the ray from a centre. Invertibility needs :math:`\beta > -\alpha`, so
    :math:`\beta = \alpha (e^{b} - 1)`, where :math:`e^{b}` is the slope at the centre,
    :math:`|b| < 7`, and :math:`b = 0` is the identity. The distance of ``x`` from the centre solves
    a quadratic equation, so that both directions are in closed form.

    Args:
        rng_key: random key of the centre and of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> Radial(jax.random.key(0), 3)(jnp.ones((4, 3))).shape
        (4, 3)

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, equation 14 and
        appendix A.2.
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
        centre_key, network_key = jax.random.split(check_rng_key(rng_key))
        centre = jax.random.normal(centre_key, (self.input_dim,))
        init = jnp.concatenate([centre, jnp.zeros(2)])
        self.parameter_net = ConditionalParameters(
            network_key, init.size, context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Array | None) -> tuple[Array, Array, Array]:
        """Return the centre, ``alpha`` and ``beta``, the latter two with a last dimension of 1."""
        ends = [self.input_dim, self.input_dim + 1]
        centre, log_alpha, log_slope = jnp.split(self.parameter_net(context), ends, -1)
        alpha = jnp.exp(MAX_LOG_SLOPE * jnp.tanh(log_alpha / MAX_LOG_SLOPE))
        beta = alpha * jnp.expm1(MAX_LOG_SLOPE * jnp.tanh(log_slope / MAX_LOG_SLOPE))
        return centre, alpha, beta

    def _log_det(self, radius: Array, alpha: Array, beta: Array) -> Array:
        # equation 14: the stretch across the ray, D - 1 times, and along it
        across = jnp.log1p(beta / (alpha + radius))
        along = jnp.log1p(beta * alpha / jnp.square(alpha + radius))
        return ((self.input_dim - 1) * across + along)[..., 0]

    def forward_and_log_det(self, x, context=None):
        centre, alpha, beta = self._params(context)
        offset = x - centre
        radius = _norm(offset)
        return x + offset * (beta / (alpha + radius)), self._log_det(radius, alpha, beta)

    def inverse_and_log_det(self, y, context=None):
        centre, alpha, beta = self._params(context)
        offset = y - centre
        image = _norm(offset)
        # r^2 + (alpha + beta - r') r - alpha r' = 0, the positive root without cancellation
        half = 0.5 * (image - alpha - beta)
        root = jnp.sqrt(jnp.square(half) + alpha * image)
        outside = half > 0
        radius = jnp.where(
            outside, half + root, alpha * image / jnp.where(outside, root, root - half)
        )
        x = centre + offset * ((alpha + radius) / (alpha + beta + radius))
        return x, -self._log_det(radius, alpha, beta)


def _norm(x: Array) -> Array:
    """Return Euclidean norms, keeping the dimension, with a zero gradient at zero."""
    square = jnp.square(x).sum(-1, keepdims=True)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
