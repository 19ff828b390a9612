"""Integrals of a positive network as elementwise maps."""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..._numerics.checks import check_positive, check_positive_int
from ...nn import Dense
from .integral import IntegralMap

__all__ = ["UnconstrainedMonotonicMap"]

MIN_SLOPE = 1e-3
# softplus(SLOPE_SHIFT) + MIN_SLOPE == 1: a network that gives zero gives the identity
SLOPE_SHIFT = math.log(math.expm1(1.0 - MIN_SLOPE))


class UnconstrainedMonotonicMap(eqx.Module, IntegralMap):
    r"""The map :math:`y = b + \int_0^x g(t, h) \, dt` with a positive network ``g``.

    The network is a part of the map, shared by all inputs; the parameters of an input are ``b`` and
    an embedding ``h``. The slope is constant beyond ``|t| > bound``. Closed form forward up to the
    error of the quadrature, numerical inverse; starts as the identity. The network ends on a
    softplus, which is smooth, so that the error falls geometrically with the number of nodes:
    about 1e-9 for 16 where the paper's elu + 1, whose curvature jumps, gives about 1e-3.

    Args:
        rng_key: random key of the network.
        embedding_dim: length of ``h``; the map has one parameter more.
        hidden_dims: hidden widths of the network.
        num_nodes: nodes of the Gauss-Legendre quadrature, at least 2.
        bound: half-width of the interval where the slope varies, positive.
        activation: activation of the network, a smooth one.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import MaskedAutoregressive
        >>> elementwise = UnconstrainedMonotonicMap(jax.random.key(0), 4)
        >>> transform = MaskedAutoregressive(jax.random.key(1), 3, elementwise)
        >>> transform(jnp.ones((5, 3))).shape
        (5, 3)

    References:
        Wehenkel & Louppe 2019, Unconstrained Monotonic Neural Networks, equations 1 and 6.
    """

    network: Dense
    embedding_dim: int = eqx.field(static=True)
    num_nodes: int = eqx.field(static=True)
    bound: float = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        embedding_dim: int = 8,
        hidden_dims: Sequence[int] = (32, 32),
        num_nodes: int = 16,
        bound: float = 5.0,
        activation: str | Callable = "silu",
    ):
        self.embedding_dim = check_positive_int("embedding_dim", embedding_dim)
        self.num_nodes = check_positive_int("num_nodes", num_nodes, minimum=2)
        self.bound = check_positive("bound", bound)
        self.network = Dense(
            rng_key, 1 + self.embedding_dim, 1, hidden_dims, activation, zero_init=True
        )

    @property
    def num_params(self) -> int:
        return 1 + self.embedding_dim

    def slope(self, t: Array, params: Array) -> Array:
        embedding = jnp.swapaxes(params, -1, -2)[..., None, :, :]
        shape = jnp.broadcast_shapes(t.shape, embedding.shape[:-1])
        embedding = jnp.broadcast_to(embedding, shape + embedding.shape[-1:])
        inputs = [jnp.broadcast_to(t, shape)[..., None], embedding]
        value = self.network(jnp.concatenate(inputs, -1))[..., 0]
        return jax.nn.softplus(value + SLOPE_SHIFT) + MIN_SLOPE
