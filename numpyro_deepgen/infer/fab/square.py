r"""Annealed importance sampling from a guide to the square of the posterior over the guide.

.. math::
    \log \pi_\beta(z) = (1 - 2 \beta) \log q(z) + 2 \beta \log p(z), \qquad
    \log w = \sum_{k=1}^K 2 (\beta_k - \beta_{k-1}) (\log p - \log q)(z_{k-1}),

each of the :math:`K` temperatures followed by a Hamiltonian trajectory. :math:`p^2 / q` is where
the divergence of order 2 has its mass, and importance weights with the guide as proposal their
variance: annealing finds there what the guide misses.

References:
    Midgley, Stimper, Simm, Scholkopf & Hernandez-Lobato (2023), Flow annealed importance sampling
    bootstrap, section 3; Neal (2001), Annealed importance sampling, eq. 10.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, random

from ..annealing.tempering import covariance_factor

__all__ = ["Square", "anneal_to_square"]

TARGET_ACCEPTANCE = 0.65


class Square(NamedTuple):
    """Draws near the square of the posterior over the guide.

    Attributes:
        points: shape ``(M, D)``.
        log_weights: shape ``(M,)``; the mean weight estimates the integral without bias.
        log_guides: log densities of the guide there, shape ``(M,)``.
        log_step_size: of the trajectories, after this run.
    """

    points: Array
    log_weights: Array
    log_guides: Array
    log_step_size: Array


class _Scored(NamedTuple):
    points: Array
    log_p: Array
    log_q: Array
    grad_p: Array
    grad_q: Array


def anneal_to_square(
    rng_key: Array,
    log_p: Callable[[Array], Array],
    log_q: Callable[[Array], Array],
    points: Array,
    log_step_size: Array,
    num_temperatures: int,
    num_leapfrog_steps: int,
) -> Square:
    """Lead draws of the guide to the square.

    Args:
        rng_key: key of the trajectories.
        log_p: log density of the posterior, not normalised, ``(M, D)`` to ``(M,)``.
        log_q: log density of the guide, alike.
        points: draws of the guide, shape ``(M, D)``.
        log_step_size: logarithm of the step size.
        num_temperatures: number ``K`` of temperatures, equally spaced, the last one 1.
        num_leapfrog_steps: steps of a trajectory.
    """
    factor = covariance_factor(points)

    def scored(points: Array) -> _Scored:
        (p, q), pull = jax.vjp(lambda z: (log_p(z), log_q(z)), points)
        one, none = jnp.ones_like(p), jnp.zeros_like(p)
        (grad_p,), (grad_q,) = pull((one, none)), pull((none, one))
        good = jnp.isfinite(p) & jnp.isfinite(q)
        good &= jnp.isfinite(grad_p).all(-1) & jnp.isfinite(grad_q).all(-1)
        return _Scored(
            points,
            jnp.where(good, p, -jnp.inf),
            jnp.where(good, q, 0.0),
            *(jnp.where(good[:, None], grad, 0.0) for grad in (grad_p, grad_q)),
        )

    def stage(carry, inputs):
        at, log_weights, log_step_size = carry
        key, beta = inputs
        log_weights = log_weights + 2.0 / num_temperatures * (at.log_p - at.log_q)
        at, rate = _trajectory(
            key, at, beta, jnp.exp(log_step_size), scored, factor, num_leapfrog_steps
        )
        return (at, log_weights, log_step_size + rate - TARGET_ACCEPTANCE), None

    betas = jnp.arange(1, num_temperatures + 1, dtype=points.dtype) / num_temperatures
    keys = random.split(rng_key, num_temperatures)
    start = (scored(points), jnp.zeros_like(points[:, 0]), log_step_size)
    (at, log_weights, log_step_size), _ = lax.scan(stage, start, (keys, betas))
    return Square(at.points, log_weights, at.log_q, log_step_size)


def _trajectory(
    rng_key: Array,
    start: _Scored,
    beta: Array,
    step_size: Array,
    scored: Callable,
    factor: Array,
    num_leapfrog_steps: int,
) -> tuple[_Scored, Array]:
    """One Hamiltonian trajectory of every point, and the mean acceptance."""
    momentum_key, uniform_key = random.split(rng_key)
    momenta = random.normal(momentum_key, start.points.shape, start.points.dtype)

    def kick(p: Array, at: _Scored) -> Array:
        force = 2.0 * beta * at.grad_p + (1.0 - 2.0 * beta) * at.grad_q
        return p + 0.5 * step_size * (force @ factor)

    def energy(p: Array, at: _Scored) -> Array:
        return 0.5 * (p**2).sum(-1) - 2.0 * beta * at.log_p - (1.0 - 2.0 * beta) * at.log_q

    def leapfrog(_, state):
        at, p = state
        p = kick(p, at)
        at = scored(at.points + step_size * (p @ factor.T))
        return at, kick(p, at)

    end, end_momenta = lax.fori_loop(0, num_leapfrog_steps, leapfrog, (start, momenta))
    change = energy(momenta, start) - energy(end_momenta, end)
    chance = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(change), -jnp.inf, change), 0.0))
    accept = random.uniform(uniform_key, chance.shape, chance.dtype) < chance
    taken = jax.tree.map(
        lambda new, old: jnp.where(accept.reshape((-1,) + (1,) * (new.ndim - 1)), new, old),
        end,
        start,
    )
    return taken, chance.mean()
