"""Activation functions by name, the same names in both twins."""

from collections.abc import Callable

import torch
from torch.nn import functional

from .._numerics.checks import check_choice

__all__ = ["activation_function"]

ACTIVATIONS: dict[str, Callable] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}


def activation_function(activation: str | Callable) -> Callable:
    """Return the function called ``activation`` (a callable is returned as it is)."""
    if callable(activation):
        return activation
    return ACTIVATIONS[check_choice("activation", activation, tuple(ACTIVATIONS))]
