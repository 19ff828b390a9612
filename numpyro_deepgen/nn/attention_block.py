"""The part that blocks of transformers share, whatever their positions attend to."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from .._numerics.checks import check_positive_int
from ._linear import Linear

__all__ = ["AttentionBlock", "LayerNorm"]

gelu = partial(jax.nn.gelu, approximate=False)


class LayerNorm(eqx.Module):
    """Normalisation over the last dimension, any leading shape."""

    weight: Array
    bias: Array

    def __init__(self, size: int):
        self.weight, self.bias = jnp.ones(size), jnp.zeros(size)

    def __call__(self, h: Array) -> Array:
        h = h - h.mean(-1, keepdims=True)
        scale = jnp.sqrt(jnp.square(h).mean(-1, keepdims=True) + 1e-5)
        return h / scale * self.weight + self.bias


class AttentionBlock(eqx.Module):
    r"""Normalisation and linear maps around an attention, and the dense layers behind it.

    Args:
        rng_key: random key of the starting weights.
        hidden_dim: width, a multiple of ``num_heads``.
        num_heads: number of heads.

    Raises:
        ValueError: if ``num_heads`` does not divide ``hidden_dim``.
    """

    attention_norm: LayerNorm
    dense_norm: LayerNorm
    attention_in: Linear
    attention_out: Linear
    dense_in: Linear
    dense_out: Linear
    num_heads: int = eqx.field(static=True)

    def __init__(self, rng_key: Array, hidden_dim: int, num_heads: int):
        if check_positive_int("hidden_dim", hidden_dim) % check_positive_int(
            "num_heads", num_heads
        ):
            raise ValueError(
                f"num_heads must divide hidden_dim={hidden_dim}, got {num_heads}; pass for example "
                "1."
            )
        self.num_heads = num_heads
        self.attention_norm, self.dense_norm = LayerNorm(hidden_dim), LayerNorm(hidden_dim)
        keys = jax.random.split(rng_key, 4)
        self.attention_in = Linear(keys[0], hidden_dim, 3 * hidden_dim)
        self.attention_out = Linear(keys[1], hidden_dim, hidden_dim)
        self.dense_in = Linear(keys[2], hidden_dim, 4 * hidden_dim)
        self.dense_out = Linear(keys[3], 4 * hidden_dim, hidden_dim)

    def _heads(self, h: Array) -> tuple[Array, ...]:
        """Queries, keys and values, ``(..., num_heads, size)``."""
        parts = jnp.split(self.attention_in(self.attention_norm(h)), 3, -1)
        return tuple(part.reshape(*part.shape[:-1], self.num_heads, -1) for part in parts)

    def _finish(self, h: Array, attended: Array) -> Array:
        h = h + self.attention_out(attended.reshape(h.shape))
        return h + self.dense_out(gelu(self.dense_in(self.dense_norm(h))))
