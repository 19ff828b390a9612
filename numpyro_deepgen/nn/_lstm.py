"""The cell of recurrent networks."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

__all__ = ["lstm_cell"]


def lstm_cell(sums: Array, memory: Array) -> tuple[Array, Array]:
    """Return state and memory from the sums of all gates, ``(..., 4 h)``, and the memory."""
    output, forget, write, value = jnp.split(sums, 4, -1)
    memory = sigmoid(forget) * memory + sigmoid(write) * jnp.tanh(value)
    return sigmoid(output) * jnp.tanh(memory), memory
