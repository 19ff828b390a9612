"""Activation functions by name, the same names in both twins."""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from .._numerics.checks import check_choice

__all__ = ["activation_function", "in_place"]

ACTIVATIONS: dict[str, Callable] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}

IN_PLACE: dict[Callable, Callable] = {
    functional.elu: functional.elu_,
    functional.relu: torch.relu_,
    functional.silu: partial(functional.silu, inplace=True),
    torch.tanh: torch.tanh_,
}


def activation_function(activation: str | Callable) -> Callable:
    """Return the function called ``activation`` (a callable is returned as it is)."""
    if callable(activation):
        return activation
    return ACTIVATIONS[check_choice("activation", activation, tuple(ACTIVATIONS))]


def in_place(activation: Callable) -> Callable:
    """Return a function that overwrites its argument with the activation of it."""
    return IN_PLACE.get(activation) or (lambda x: x.copy_(activation(x)))
