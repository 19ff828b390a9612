"""Arrays as the vectors that a network of vectors takes."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .._numerics.checks import check_positive_int

__all__ = ["FlatInputs", "as_numbers"]


class FlatInputs(eqx.Module):
    r"""A network of vectors, applied to arrays of any shape and to a context beside them.

    Args:
        network: module that maps ``batch_shape + (n,)`` to ``batch_shape + (m,)``.
        event_dim: number of dimensions of one input.
        input_range: lowest and highest entry of the inputs, which are then rescaled to
            :math:`[-1, 1]`, or None to take them as they are.

    Shape:
        ``batch_shape + event_shape``, and perhaps ``batch_shape + (context_dim,)``, to
        ``batch_shape + (m,)``; ``n`` is the number of entries of both. The batch shapes broadcast.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.nn import Dense
        >>> network = FlatInputs(Dense(jax.random.key(0), 64 + 3, 2), event_dim=2)
        >>> network(jnp.zeros((5, 8, 8)), jnp.zeros((5, 3))).shape
        (5, 2)
    """

    network: Callable
    event_dim: int = eqx.field(static=True)
    input_range: tuple[float, float] | None = eqx.field(static=True)

    def __init__(
        self,
        network: Callable,
        event_dim: int = 1,
        input_range: tuple[float, float] | None = None,
    ):
        self.network = network
        self.event_dim = check_positive_int("event_dim", event_dim)
        self.input_range = input_range

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        return self.network(self.vectors(x, context))

    def vectors(self, x: Array, context: Array | None = None) -> Array:
        """What the network is given."""
        x = as_numbers(x, self.input_range)
        x = x.reshape((*x.shape[: x.ndim - self.event_dim], -1))
        if context is None:
            return x
        shape = jnp.broadcast_shapes(x.shape[:-1], context.shape[:-1])
        parts = [jnp.broadcast_to(t, (*shape, t.shape[-1])) for t in (x, context)]
        return jnp.concatenate(parts, -1)


def as_numbers(x: Array, input_range: tuple | None = None) -> Array:
    """Inputs as floating-point numbers, and rescaled."""
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)
    if input_range is None:
        return x
    low, high = input_range
    return (x - low) * (2.0 / (high - low)) - 1.0
