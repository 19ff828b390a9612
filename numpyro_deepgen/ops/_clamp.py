"""Clipping whose derivative is one at the limits."""

import jax.numpy as jnp
from jax import Array

__all__ = ["clamp"]


def clamp(x: Array, lower: float | None = None, upper: float | None = None) -> Array:
    """Clip, with derivative one at the limits themselves (where knots lie)."""
    if lower is not None:
        x = jnp.where(x < lower, lower, x)
    if upper is not None:
        x = jnp.where(x > upper, upper, x)
    return x
