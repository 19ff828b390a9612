"""Planar transforms, with a true inverse."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

from ...nn import ConditionalParameters
from ...ops._random import check_rng_key
from ...ops.constraining import above_minus_one
from ...ops.root_finding import tanh_root
from .base import Transform

__all__ = ["Planar"]


class Planar(Transform):
    r"""The transform :math:`y = x + \hat u \tanh(w^T x + b)`, invertible for all parameters.

    Invertibility needs :math:`w^T \hat u > -1`, so
    :math:`\hat u = u + (m(w^T u) - w^T u)\, w / |w|^2` with
    :math:`m(a) = (1 - \epsilon) (\mathrm{softplus}(a + \log(e - 1)) - 1) > -1`,
    :math:`\epsilon = 10^{-3}`, which keeps :math:`u = 0` the identity.
    The inverse solves :math:`s + w^T \hat u \tanh s = w^T y + b`, one increasing scalar equation a
    point, inside an exact bracket, with implicit gradients.

    Args:
        rng_key: random key of ``w`` and of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> Planar(jax.random.key(0), 3)(jnp.ones((4, 3))).shape
        (4, 3)

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, equations 10-12 and
        appendix A.1.
    """

    fast = "forward"

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        weight_key, network_key = jax.random.split(check_rng_key(rng_key))
        dim = self.input_dim
        weight = jax.random.normal(weight_key, (dim,)) / math.sqrt(dim)
        init = jnp.concatenate([jnp.zeros(dim), weight, jnp.zeros(1)])
        self.parameter_net = ConditionalParameters(
            network_key, init.size, context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Array | None) -> tuple[Array, Array, Array, Array]:
        """Return ``u_hat``, ``w``, ``b`` and the product ``w^T u_hat``."""
        dim = self.input_dim
        u, w, b = jnp.split(self.parameter_net(context), [dim, 2 * dim], -1)
        raw = (u * w).sum(-1, keepdims=True)
        norm = jnp.square(w).sum(-1, keepdims=True) + float(jnp.finfo(w.dtype).tiny) ** 0.5
        # appendix A.1, with a shifted softplus
        product = above_minus_one(raw)
        return u + (product - raw) * (w / norm), w, b[..., 0], product[..., 0]

    @staticmethod
    def _log_det(s: Array, product: Array) -> Array:
        # equation 12: det = 1 + w^T u_hat (1 - tanh^2 s)
        return jnp.log1p(product * (1.0 - jnp.square(jnp.tanh(s))))

    def forward_and_log_det(self, x, context=None):
        u, w, b, product = self._params(context)
        s = (x * w).sum(-1) + b
        return x + u * jnp.tanh(s)[..., None], self._log_det(s, product)

    def inverse_and_log_det(self, y, context=None):
        u, w, b, product = self._params(context)
        target = (y * w).sum(-1) + b
        s = tanh_root(product, target)
        return y - u * jnp.tanh(s)[..., None], -self._log_det(s, product)
