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

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

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


@dataclass
class Population:
    """Particles in all islands, and what the stages until now gave.

    Attributes:
        points: shape ``(M, D)``, in coordinates where the broad distribution is standard normal.
        values: log density there, shape ``(M,)``.
        grads: its gradient, shape ``(M, D)``.
        log_evidences: shape ``(num_repeats,)``.
        beta: the inverse temperature.
        log_step_size: of the moves.
        stage: number of stages done.
        acceptance: mean acceptance of the last moves.
    """

    points: Tensor
    values: Tensor
    grads: Tensor
    log_evidences: Tensor
    beta: float = 0.0
    log_step_size: float = math.log(0.3)
    stage: int = 0
    acceptance: float = TARGET_ACCEPTANCE


def anneal(
    density: Callable[[Tensor], Tensor], loc: Tensor, scale_tril: Tensor, settings: Annealing
) -> tuple[Tensor, Tensor, Population]:
    """Run all stages.

    Args:
        density: log density of vectors, ``(N, D)`` to ``(N,)``.
        loc: mean of the broad normal distribution, shape ``(D,)``.
        scale_tril: the lower triangle of its covariance, shape ``(D, D)``.
        settings: sizes.

    Returns:
        The particles, shape ``(M, D)``, resampled over all islands by the evidence of each; their
        log densities; and the last population, which ended early if its ``beta`` is below 1.
    """
    shift = scale_tril.diagonal().abs().log().sum()

    def scored(points: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            value = density(loc + points @ scale_tril.mT) + shift
            (grads,) = torch.autograd.grad(value.sum(), [points])
        good = value.isfinite() & grads.isfinite().all(-1)
        value = value.detach().where(good, value.new_tensor(-math.inf))
        return value, grads.where(good[:, None], grads.new_tensor(0.0))

    points = torch.randn(settings.num_particles, loc.numel()).to(loc)
    log_evidences = points.new_zeros(settings.num_repeats)
    population = Population(points, *scored(points), log_evidences)
    while population.beta < 1.0 and population.stage < settings.max_stages:
        _cool(population)
        if not population.log_evidences.isfinite().all():
            break
        factor = covariance_factor(population.points)
        for _ in range(settings.num_moves):
            _move(population, scored, factor, settings)
    size = settings.num_particles // settings.num_repeats
    log_weights = population.log_evidences.repeat_interleave(size)
    chosen = _systematic(torch.rand(()).to(loc), log_weights)
    return (
        loc + population.points[chosen] @ scale_tril.mT,
        population.values[chosen] - shift,
        population,
    )


def _cool(population: Population) -> None:
    """Choose the next temperature, weigh, and resample each island."""
    points = population.points
    log_broad = -0.5 * (points**2).sum(-1) - 0.5 * points.shape[-1] * math.log(2 * math.pi)
    ratio = population.values - log_broad
    top = ratio.max()
    log_count = math.log(max(int(ratio.isfinite().sum()), 1))

    def enough(step: float) -> bool:
        scaled = step * (ratio - top)
        share = 2 * scaled.logsumexp(-1) - (2 * scaled).logsumexp(-1)
        return bool(share >= math.log(ESS_SHARE) + log_count)

    step = 1.0 - population.beta
    if enough(step):
        population.beta = 1.0
    else:
        low, high = 0.0, step
        for _ in range(NUM_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if enough(middle) else (low, middle)
        step = low
        population.beta += step
    num_repeats = len(population.log_evidences)
    # at a step of zero points of no density still weigh nothing
    log_weights = torch.where(ratio.isfinite(), step * ratio, ratio).reshape(num_repeats, -1)
    size = log_weights.shape[-1]
    population.log_evidences = population.log_evidences + log_weights.logsumexp(-1) - math.log(size)
    uniforms = torch.rand(num_repeats).to(points)
    chosen = torch.cat(
        [i * size + _systematic(uniforms[i], log_weights[i]) for i in range(num_repeats)]
    )
    population.points = points[chosen]
    population.values, population.grads = population.values[chosen], population.grads[chosen]
    population.stage += 1


def _systematic(uniform: Tensor, log_weights: Tensor) -> Tensor:
    """Indices of as many draws as there are weights."""
    cumulative = log_weights.softmax(-1).cumsum(-1)
    size = log_weights.shape[-1]
    places = (torch.arange(size).to(uniform) + uniform) / size * cumulative[-1]
    return torch.searchsorted(cumulative, places, right=True).clamp(max=size - 1)


def covariance_factor(points: Tensor) -> Tensor:
    """Lower triangle of the covariance of the particles."""
    centred = points - points.mean(0)
    covariance = centred.mT @ centred / len(points)
    spread = covariance.diagonal()
    tiny = torch.finfo(spread.dtype).tiny
    floor = FLOOR * spread.clamp(min=float(FLOOR * spread.max() + tiny))
    factor, info = torch.linalg.cholesky_ex(covariance + floor.diag())
    return (spread + floor).sqrt().diag() if info.item() else factor


def _move(population: Population, scored: Callable, factor: Tensor, settings: Annealing) -> None:
    """One Hamiltonian trajectory of every particle, each with a step size of its own."""
    beta, points = population.beta, population.points
    momenta = torch.randn(points.shape).to(points)
    uniforms = torch.rand(len(points), 1).to(points)
    # from a fifth of the step size to all of it
    step_sizes = math.exp(population.log_step_size) * 5.0 ** (uniforms - 1.0)

    def force(points: Tensor, grads: Tensor) -> Tensor:
        return (beta * grads - (1.0 - beta) * points) @ factor

    def energy(points: Tensor, values: Tensor, momenta: Tensor) -> Tensor:
        tempered = beta * values - 0.5 * (1.0 - beta) * (points**2).sum(-1)
        return 0.5 * (momenta**2).sum(-1) - tempered

    x, p, values, slope = points, momenta, population.values, population.grads
    for _ in range(settings.num_leapfrog_steps):
        p = p + 0.5 * step_sizes * force(x, slope)
        x = x + step_sizes * (p @ factor.mT)
        values, slope = scored(x)
        p = p + 0.5 * step_sizes * force(x, slope)
    change = energy(points, population.values, momenta) - energy(x, values, p)
    chance = change.nan_to_num(-math.inf, math.inf, -math.inf).clamp(max=0.0).exp()
    accept = torch.rand(len(points)).to(points) < chance
    population.points = torch.where(accept[:, None], x, points)
    population.values = torch.where(accept, values, population.values)
    population.grads = torch.where(accept[:, None], slope, population.grads)
    population.acceptance = float(chance.mean())
    population.log_step_size += population.acceptance - TARGET_ACCEPTANCE
