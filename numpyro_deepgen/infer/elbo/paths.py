"""Log weights whose gradients go along the draws of the guide alone."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax

from .particles import Program
from .sites import Plate
from .weights import path_factor, scale_gradient

__all__ = ["log_weights_along_draws"]


def log_weights_along_draws(
    program: Program, terms: Callable, plans: list, alpha: float, doubly: bool
) -> Array:
    """Log weights whose derivatives in the guide's parameters go along the draws alone.

    Args:
        program: what runs the particles.
        terms: function that gives their ``'log_weights'``, and leaves their plan in ``plans``.
        plans: list of the plan of the weights, filled by ``terms``.
        alpha: order of the bound.
        doubly: whether the gradient is doubly reparameterised, else it sticks the landing.

    Returns:
        Log weights of shape ``(K,) + plate sizes``.
    """
    factors = jnp.ones(program.num_particles)
    if doubly:
        log_weights = lax.stop_gradient(program.particles(terms)["log_weights"])
        factors = path_factor(log_weights, alpha)

    def at(value: Array, site: dict, factor: Array) -> Array:
        if not doubly or not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
            return value
        plates = () if plans[-1] is None else plans[-1].plates
        return scale_gradient(value, _aligned(factor, plates, value, site["fn"].event_dim))

    return program.particles_at_draws(terms, at, factors)["log_weights"]


def _aligned(factor: Array, plates: tuple[Plate, ...], value: Array, event_dim: int) -> Array:
    """A factor of shape ``plate sizes`` for each entry of a site's value."""
    shape = [1] * max((-plate.dim for plate in plates), default=0)
    for plate, size in zip(plates, factor.shape, strict=True):
        shape[plate.dim] = size
    factor = factor.reshape((*shape, *(1,) * event_dim)).astype(value.dtype)
    return jnp.broadcast_to(factor, value.shape)
