"""Unconstrained sites as one flat vector, in the order of a guide of the host."""

import math

import jax.numpy as jnp
from jax import Array

__all__ = ["check_sites", "pack", "site_shapes", "unpack"]


def site_shapes(guide) -> dict[str, tuple[int, ...]]:
    """Shapes of the unconstrained sites, in the order of the guide's latent vector."""
    return {name: jnp.shape(value) for name, value in guide._init_locs.items()}


def check_sites(shapes: dict[str, tuple[int, ...]], z: dict[str, Array]) -> None:
    """Raise if a kernel's sites are not those of the guide."""
    found = {name: jnp.shape(value) for name, value in z.items()}
    if found != shapes:
        raise ValueError(
            f"inner must have the sites of the guide, {shapes}, got {found}; build both from one "
            "model."
        )


def pack(shapes: dict[str, tuple[int, ...]], z: dict[str, Array]) -> Array:
    """The flat vector of shape ``(D,)`` of unconstrained values by site."""
    return jnp.concatenate([z[name].reshape(-1) for name in shapes])


def unpack(shapes: dict[str, tuple[int, ...]], z: Array) -> dict[str, Array]:
    """Unconstrained values by site of the flat vector of shape ``(D,)``."""
    values, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        values[name] = z[start:stop].reshape(shape)
        start = stop
    return values
