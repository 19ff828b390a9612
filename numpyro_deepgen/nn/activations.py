"""Activation functions by name, the same names in both twins."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from .._numerics.checks import check_choice

__all__ = ["activation_function"]

ACTIVATIONS: dict[str, Callable] = {
    "elu": jax.nn.elu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def activation_function(activation: str | Callable) -> Callable:
    """Return the function called ``activation`` (a callable is returned as it is)."""
    if callable(activation):
        return activation
    return ACTIVATIONS[check_choice("activation", activation, tuple(ACTIVATIONS))]
