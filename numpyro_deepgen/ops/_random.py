"""Random keys as arguments."""

import jax
import jax.numpy as jnp

__all__ = ["check_rng_key"]


def check_rng_key(rng_key) -> jax.Array:
    """Return ``rng_key`` if it is one random key, typed or raw, else raise."""
    if isinstance(rng_key, jax.Array):
        if jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key) and rng_key.shape == ():
            return rng_key
        if rng_key.dtype == jnp.uint32 and rng_key.ndim == 1:
            return rng_key
    raise TypeError(
        f"rng_key must be one random key, got {rng_key!r}; pass for example jax.random.key(0)."
    )
