"""A vector of parameters, constant or a network's output."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .._numerics.checks import check_context_shape, check_positive_int
from ..ops._random import check_rng_key
from .dense import Dense

__all__ = ["ConditionalParameters"]


class ConditionalParameters(eqx.Module):
    r"""A learned vector, plus a network of the context where there is one.

    .. math:: \theta(c) = \theta_0 + f(c), \qquad f = 0 \text{ at the start.}

    Args:
        rng_key: random key of the starting weights.
        num_params: length of the vector; zero is allowed.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        init: starting value of :math:`\theta_0`, shape ``(num_params,)``, default zeros.

    Shape:
        context ``batch_shape + (context_dim,)`` to ``batch_shape + (num_params,)``; ``None`` to
        ``(num_params,)``.

    Example:
        >>> import jax
        >>> ConditionalParameters(jax.random.key(0), 4)().shape
        (4,)
    """

    bias: Array
    network: Dense | None
    num_params: int = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        num_params: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        init: Array | None = None,
    ):
        rng_key = check_rng_key(rng_key)
        self.num_params = check_positive_int("num_params", num_params, minimum=0)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.bias = jnp.zeros(num_params) if init is None else jnp.asarray(init)
        self.network = None
        if context_dim and num_params:
            self.network = Dense(
                rng_key,
                context_dim,
                num_params,
                hidden_dims,
                activation,
                zero_init=True,
                final_bias=False,
            )

    def __call__(self, context: Array | None = None) -> Array:
        check_context_shape(None if context is None else context.shape, self.context_dim)
        if context is None:
            return self.bias
        if self.network is None:
            return jnp.broadcast_to(self.bias, context.shape[:-1] + (self.num_params,))
        return self.bias + self.network(context)
