r"""The divergence of order 2 from a buffer of annealed draws, as a bound of the host.

.. math::
    \nabla_\phi D_2(p \,\|\, q_\phi) = - \mathbb E_{g} \nabla_\phi \log q_\phi(z),
    \qquad g \propto p^2 / q_\phi,

the expectation over draws of a buffer, chosen in proportion to their weights :math:`w^\gamma` and
corrected for what the guide has become since they were weighed. Where few draws hold all the weight
:math:`\gamma` is below 1, so that a share of the buffer counts: for draws of the posterior itself
the density followed is :math:`p (p / q)^\gamma`, from the forward divergence at 0 to the one of
order 2 at 1.

References:
    Midgley et al. (2023), Flow annealed importance sampling bootstrap, eq. 6 and algorithm 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.scipy.special import logsumexp
from numpyro import handlers
from numpyro.infer.autoguide import AutoContinuous
from numpyro.infer.elbo import ELBO

from .square import anneal_to_square

__all__ = ["BUFFER", "Buffer", "BufferedDivergence", "FABSettings"]

BUFFER = "_fab_buffer"
MAX_LOG_CORRECTION = 2.303
MIN_SHARE = 0.1
NUM_BISECTIONS = 20


class FABSettings(NamedTuple):
    """Draws a refreshment, their temperatures and leapfrog steps, steps between, rows a step."""

    num_draws: int
    num_temperatures: int
    num_leapfrog_steps: int
    refresh_every: int
    batch_size: int


class Buffer(NamedTuple):
    """Weighed draws of the past, the oldest of which the next ones replace.

    Attributes:
        points: shape ``(N, D)``.
        log_weights: with respect to the square over the guide, shape ``(N,)``.
        log_guides: log densities of the guide that they were weighed with, shape ``(N,)``.
        power: exponent of the weights.
        log_step_size: of the trajectories.
        step: number of steps taken.
    """

    points: Array
    log_weights: Array
    log_guides: Array
    power: Array
    log_step_size: Array
    step: Array


class BufferedDivergence(ELBO):
    """The cross entropy whose gradient is that of the divergence of order 2.

    The buffer is a mutable site of the guide.

    Args:
        guide: a guide with a density over the unconstrained vector.
        density: log density of the posterior, ``(N, D)`` to ``(N,)``.
        settings: sizes.
    """

    def __init__(self, guide: AutoContinuous, density: Callable, settings: FABSettings):
        super().__init__(num_particles=1)
        self._guide, self._density, self._settings = guide, density, settings

    def loss_with_mutable_state(
        self, rng_key: Array, param_map: dict, model: Callable, guide: Callable, *args, **kwargs
    ) -> dict:
        """Return the cross entropy of a batch, and the buffer."""
        settings, buffer = self._settings, param_map[BUFFER]
        fixed = jax.tree.map(lax.stop_gradient, param_map)
        refresh_key, batch_key = random.split(rng_key)
        buffer = lax.cond(
            buffer.step % settings.refresh_every == 0,
            lambda buffer: self._refreshed(refresh_key, fixed, buffer),
            lambda buffer: buffer,
            buffer,
        )
        chances = jnp.cumsum(jax.nn.softmax(buffer.power * buffer.log_weights))
        uniforms = random.uniform(batch_key, (settings.batch_size,), chances.dtype)
        rows = jnp.searchsorted(chances, uniforms * chances[-1], side="right")
        rows = jnp.minimum(rows, len(chances) - 1)
        log_q = self._posterior(param_map).log_prob(buffer.points[rows])
        gains = buffer.log_guides[rows] - lax.stop_gradient(log_q)
        corrections = jnp.exp(jnp.minimum(buffer.power * gains, MAX_LOG_CORRECTION))
        buffer = buffer._replace(
            log_weights=buffer.log_weights.at[rows].set(buffer.log_weights[rows] + gains),
            log_guides=buffer.log_guides.at[rows].set(lax.stop_gradient(log_q)),
            step=buffer.step + 1,
        )
        loss = -(corrections * log_q).mean()
        return {"loss": loss, "mutable_state": {BUFFER: jax.tree.map(lax.stop_gradient, buffer)}}

    def _posterior(self, params: dict):
        return handlers.substitute(self._guide._get_posterior, data=params)()

    def _refreshed(self, rng_key: Array, params: dict, buffer: Buffer) -> Buffer:
        """Weigh what is there by the present guide, and put new draws in place of the oldest."""
        settings, posterior = self._settings, self._posterior(params)
        draw_key, anneal_key = random.split(rng_key)
        found = anneal_to_square(
            anneal_key,
            self._density,
            posterior.log_prob,
            posterior.sample(draw_key, (settings.num_draws,)),
            buffer.log_step_size,
            settings.num_temperatures,
            settings.num_leapfrog_steps,
        )
        log_guides = posterior.log_prob(buffer.points)
        log_weights = buffer.log_weights + buffer.log_guides - log_guides
        first = buffer.step // settings.refresh_every * settings.num_draws
        places = (first + jnp.arange(settings.num_draws)) % len(log_weights)
        log_weights = log_weights.at[places].set(found.log_weights)
        log_weights = jnp.where(jnp.isnan(log_weights), -jnp.inf, log_weights)
        return buffer._replace(
            points=buffer.points.at[places].set(found.points),
            log_weights=log_weights,
            log_guides=log_guides.at[places].set(found.log_guides),
            power=_power(log_weights),
            log_step_size=found.log_step_size,
        )


def _power(log_weights: Array) -> Array:
    """The largest exponent up to 1 at which a share of the weights counts."""
    there = log_weights > -jnp.inf
    scaled = jnp.where(there, log_weights - log_weights.max(), -jnp.inf)
    least = jnp.log(MIN_SHARE * there.sum()).astype(scaled.dtype)

    def enough(power: Array) -> Array:
        # a product with 0 would count what is not there
        powers = jnp.where(there, power * jnp.where(there, scaled, 0.0), -jnp.inf)
        return 2 * logsumexp(powers) - logsumexp(2 * powers) >= least

    def halve(_, ends: tuple) -> tuple:
        low, high = ends
        middle = 0.5 * (low + high)
        good = enough(middle)
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    one = jnp.ones((), scaled.dtype)
    low, _ = lax.fori_loop(0, NUM_BISECTIONS, halve, (jnp.zeros_like(one), one))
    return jnp.where(enough(one), one, low)
