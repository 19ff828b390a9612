r"""Sequential Monte Carlo from a broad normal distribution to a log density.

.. math::
    \log p_\beta(z) = (1 - \beta) \log q_0(z) + \beta \log p(z), \qquad 0 = \beta_0 < \dots < 1,

each :math:`\beta` as far from the last one as the effective sample size of the incremental weights
allows. The particles are then resampled (systematically) and moved by Hamiltonian Monte Carlo,
preconditioned by their covariance, its step size following the acceptance. They live in several
islands that share temperatures, covariance and step size but resample apart: each one gives an
estimate of the evidence, and their spread its error.

References:
    Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, section 3; Jasra et al.
    (2011), Inference for Levy-driven stochastic volatility models via adaptive sequential Monte
    Carlo; Buchholz, Chopin & Jacob (2021), Adaptive tuning of Hamiltonian Monte Carlo within
    sequential Monte Carlo.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.scipy.special import logsumexp

__all__ = ["Annealing", "Population", "anneal", "covariance_factor"]

ESS_SHARE = 0.5
TARGET_ACCEPTANCE = 0.8
NUM_BISECTIONS = 40
FLOOR = 1e-10


class Annealing(NamedTuple):
    """Settings: numbers of islands, particles in all, moves a stage, leapfrog steps and stages."""

    num_repeats: int
    num_particles: int
    num_moves: int
    num_leapfrog_steps: int
    max_stages: int


class Population(NamedTuple):
    """Particles in all islands, and what the stages until now gave.

    Attributes:
        points: shape ``(M, D)``, in coordinates where the broad distribution is standard normal.
        values: log density there, shape ``(M,)``.
        grads: its gradient, shape ``(M, D)``.
        beta: the inverse temperature.
        log_step_size: of the moves.
        log_evidences: shape ``(num_repeats,)``.
        stage: number of stages done.
        acceptance: mean acceptance of the last moves.
    """

    points: Array
    values: Array
    grads: Array
    beta: Array
    log_step_size: Array
    log_evidences: Array
    stage: Array
    acceptance: Array


def anneal(
    rng_key: Array,
    density: Callable[[Array], Array],
    loc: Array,
    scale_tril: Array,
    settings: Annealing,
) -> tuple[Array, Array, Population]:
    """Run all stages as one loop on the device.

    Args:
        rng_key: key of the particles.
        density: log density of vectors, ``(N, D)`` to ``(N,)``.
        loc: mean of the broad normal distribution, shape ``(D,)``.
        scale_tril: the lower triangle of its covariance, shape ``(D, D)``.
        settings: sizes.

    Returns:
        The particles, shape ``(M, D)``, resampled over all islands by the evidence of each; their
        log densities; and the last population, which ended early if its ``beta`` is below 1.
    """
    shift = jnp.log(jnp.abs(jnp.diagonal(scale_tril))).sum()

    def scored(points: Array) -> tuple[Array, Array]:
        value, pull = jax.vjp(lambda u: density(loc + u @ scale_tril.T) + shift, points)
        (grads,) = pull(jnp.ones_like(value))
        good = jnp.isfinite(value) & jnp.isfinite(grads).all(-1)
        return jnp.where(good, value, -jnp.inf), jnp.where(good[:, None], grads, 0.0)

    start_key, loop_key, end_key = random.split(rng_key, 3)
    dtype = loc.dtype
    points = random.normal(start_key, (settings.num_particles, loc.size), dtype)
    nothing = jnp.zeros((), dtype)
    population = Population(
        points,
        jnp.zeros_like(points[:, 0]),
        jnp.zeros_like(points),
        nothing,
        jnp.log(jnp.full((), 0.3, dtype)),
        jnp.zeros(settings.num_repeats, dtype),
        jnp.full((), -1),
        nothing,
    )

    def stage(population: Population) -> Population:
        # the first passage only evaluates the points, so that the density is compiled once
        key = random.fold_in(loop_key, population.stage + 1)
        resample_key, move_key = random.split(key)
        cooled = _cool(resample_key, population, settings)
        cooled = jax.tree.map(
            lambda new, old: jnp.where(population.stage < 0, old, new), cooled, population
        )
        population = cooled._replace(stage=population.stage + 1)
        factor = covariance_factor(population.points)
        move = partial(_move, scored=scored, factor=factor, settings=settings)
        keys = random.split(move_key, settings.num_moves)
        return lax.scan(lambda p, k: (move(k, p), None), population, keys)[0]

    def goes_on(population: Population) -> Array:
        alive = jnp.isfinite(population.log_evidences).all()
        return (population.beta < 1.0) & (population.stage < settings.max_stages) & alive

    population = lax.while_loop(goes_on, stage, population)
    log_weights = jnp.repeat(
        population.log_evidences, settings.num_particles // settings.num_repeats
    )
    chosen = _systematic(random.uniform(end_key, (), dtype), log_weights)
    return (
        loc + population.points[chosen] @ scale_tril.T,
        population.values[chosen] - shift,
        population,
    )


def _cool(rng_key: Array, population: Population, settings: Annealing) -> Population:
    """Choose the next temperature, weigh, and resample each island."""
    dtype = population.points.dtype
    ratio = population.values + 0.5 * (population.points**2).sum(-1)
    ratio = ratio + 0.5 * population.points.shape[-1] * jnp.log(2 * jnp.pi).astype(dtype)
    top = jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf).max()
    ratio = jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf)
    log_count = jnp.log(jnp.isfinite(ratio).sum()).astype(dtype)

    def enough(step: Array) -> Array:
        scaled = step * (ratio - top)
        return 2 * logsumexp(scaled) - logsumexp(2 * scaled) >= jnp.log(ESS_SHARE) + log_count

    def halve(count, ends):
        low, high = ends
        # the whole way is tried first
        middle = jnp.where(count == 0, high, 0.5 * (low + high))
        good = enough(middle)
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    rest = 1.0 - population.beta
    step, _ = lax.fori_loop(0, NUM_BISECTIONS, halve, (jnp.zeros_like(rest), rest))
    beta = jnp.where(step == rest, 1.0, population.beta + step).astype(dtype)
    # at a step of zero points of no density still weigh nothing
    log_weights = jnp.where(jnp.isfinite(ratio), step * ratio, -jnp.inf)
    log_weights = log_weights.reshape(settings.num_repeats, -1)
    size = log_weights.shape[-1]
    gains = logsumexp(log_weights, -1) - jnp.log(size).astype(dtype)
    uniforms = random.uniform(rng_key, (settings.num_repeats,), dtype)
    chosen = jax.vmap(_systematic)(uniforms, log_weights)
    chosen = (chosen + size * jnp.arange(settings.num_repeats)[:, None]).ravel()
    return population._replace(
        points=population.points[chosen],
        values=population.values[chosen],
        grads=population.grads[chosen],
        beta=beta,
        log_evidences=population.log_evidences + gains,
    )


def _systematic(uniform: Array, log_weights: Array) -> Array:
    """Indices of as many draws as there are weights."""
    cumulative = jnp.cumsum(jax.nn.softmax(log_weights))
    size = log_weights.shape[-1]
    places = (jnp.arange(size) + uniform) / size * cumulative[-1]
    found = jnp.searchsorted(cumulative, places, side="right", method="compare_all")
    return jnp.minimum(found, size - 1)


def covariance_factor(points: Array) -> Array:
    """Lower triangle of the covariance of the particles."""
    centred = points - points.mean(0)
    covariance = centred.T @ centred / len(points)
    spread = jnp.diagonal(covariance)
    floor = FLOOR * jnp.maximum(spread, FLOOR * spread.max() + jnp.finfo(spread.dtype).tiny)
    factor = jnp.linalg.cholesky(covariance + jnp.diag(floor))
    return jnp.where(jnp.isfinite(factor).all(), factor, jnp.diag(jnp.sqrt(spread + floor)))


def _move(
    rng_key: Array, population: Population, *, scored, factor: Array, settings: Annealing
) -> Population:
    """One Hamiltonian trajectory of every particle, each with a step size of its own."""
    points, values, grads, beta = population[:4]
    momentum_key, uniform_key = random.split(rng_key)
    momenta = random.normal(momentum_key, points.shape, points.dtype)
    uniforms = random.uniform(uniform_key, (2, len(points)), points.dtype)
    # from a fifth of the step size to all of it
    step_sizes = jnp.exp(population.log_step_size) * 5.0 ** (uniforms[0, :, None] - 1.0)
    first = population.stage == 0
    step_sizes = jnp.where(first, 0.0, step_sizes)

    def force(points: Array, grads: Array) -> Array:
        return (beta * grads - (1.0 - beta) * points) @ factor

    def energy(points: Array, values: Array, momenta: Array) -> Array:
        tempered = beta * values - 0.5 * (1.0 - beta) * (points**2).sum(-1)
        return 0.5 * (momenta**2).sum(-1) - tempered

    def leapfrog(_, state):
        x, p, _, slope = state
        p = p + 0.5 * step_sizes * force(x, slope)
        x = x + step_sizes * (p @ factor.T)
        value, slope = scored(x)
        return x, p + 0.5 * step_sizes * force(x, slope), value, slope

    state = (points, momenta, values, grads)
    end, end_momenta, end_values, end_grads = lax.fori_loop(
        0, settings.num_leapfrog_steps, leapfrog, state
    )
    change = energy(points, values, momenta) - energy(end, end_values, end_momenta)
    chance = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(change), -jnp.inf, change), 0.0))
    accept = first | (uniforms[1] < chance)
    rate = jnp.where(first, TARGET_ACCEPTANCE, chance.mean())
    return population._replace(
        points=jnp.where(accept[:, None], end, points),
        values=jnp.where(accept, end_values, values),
        grads=jnp.where(accept[:, None], end_grads, grads),
        log_step_size=population.log_step_size + (rate - TARGET_ACCEPTANCE),
        acceptance=rate,
    )
