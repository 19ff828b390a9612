"""Layers of vectors in top-down models, normalised without running statistics."""

from collections.abc import Callable, Sequence

import equinox as eqx
from jax import Array, random

from ..distributions import ConditionalDistribution
from ..distributions.conditionals import Conditional
from ..nn import Dense, GroupNorm
from ..nn.activations import activation_function

__all__ = ["NormalizedDense", "flat_decoder"]


class NormalizedDense(eqx.Module):
    """Linear layers, each normalised over its units and activated.

    Args:
        rng_key: random key of the starting weights.
        input_dim: size of the input.
        hidden_dims: widths of the layers, one or more.
        activation: what follows each layer.
    """

    layers: tuple[Dense, ...]
    norms: tuple[GroupNorm, ...]
    activation: str | Callable = eqx.field(static=True)

    def __init__(
        self, rng_key: Array, input_dim: int, hidden_dims: Sequence[int], activation: str | Callable
    ):
        activation_function(activation)
        self.activation = activation
        keys = random.split(rng_key, len(hidden_dims))
        pairs = list(zip((input_dim, *hidden_dims), hidden_dims, strict=False))
        self.layers = tuple(Dense(k, a, b, ()) for k, (a, b) in zip(keys, pairs, strict=True))
        self.norms = tuple(GroupNorm(b, spatial_dims=0) for _, b in pairs)

    def __call__(self, x: Array) -> Array:
        activation = activation_function(self.activation)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = activation(norm(layer(x)))
        return x


def flat_decoder(
    rng_key: Array,
    input_dim: int,
    hidden_dims: Sequence[int],
    event_shape: Sequence[int],
    conditional: Conditional,
    activation: str | Callable,
) -> ConditionalDistribution:
    """A decoder of vectors."""
    size = conditional.num_params
    for length in event_shape:
        size *= length
    network = Dense(rng_key, input_dim, size, hidden_dims, activation)
    return ConditionalDistribution(network, conditional, event_shape)
