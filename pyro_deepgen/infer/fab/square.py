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

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

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

    points: Tensor
    log_weights: Tensor
    log_guides: Tensor
    log_step_size: float


class _Scored(NamedTuple):
    points: Tensor
    log_p: Tensor
    log_q: Tensor
    grad_p: Tensor
    grad_q: Tensor


def anneal_to_square(
    log_p: Callable[[Tensor], Tensor],
    log_q: Callable[[Tensor], Tensor],
    points: Tensor,
    log_step_size: float,
    num_temperatures: int,
    num_leapfrog_steps: int,
) -> Square:
    """Lead draws of the guide to the square.

    Args:
        log_p: log density of the posterior, not normalised, ``(M, D)`` to ``(M,)``.
        log_q: log density of the guide, alike.
        points: draws of the guide, shape ``(M, D)``.
        log_step_size: logarithm of the step size.
        num_temperatures: number ``K`` of temperatures, equally spaced, the last one 1.
        num_leapfrog_steps: steps of a trajectory.
    """
    factor = covariance_factor(points)

    def scored(points: Tensor) -> _Scored:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            p, q = log_p(points), log_q(points)
            (grad_p,) = torch.autograd.grad(p.sum(), [points])
            (grad_q,) = torch.autograd.grad(q.sum(), [points])
        good = p.isfinite() & q.isfinite() & (grad_p + grad_q).isfinite().all(-1)
        p, q = p.detach().where(good, p.new_tensor(-math.inf)), q.detach().where(good, 0.0 * q[0])
        grads = (grad.where(good[:, None], torch.zeros_like(grad)) for grad in (grad_p, grad_q))
        return _Scored(points.detach(), p, q.detach(), *grads)

    at, log_weights = scored(points), torch.zeros_like(points[:, 0])
    for k in range(1, num_temperatures + 1):
        log_weights = log_weights + 2.0 / num_temperatures * (at.log_p - at.log_q)
        beta, step_size = k / num_temperatures, math.exp(log_step_size)
        at, rate = _trajectory(at, beta, step_size, scored, factor, num_leapfrog_steps)
        log_step_size += rate - TARGET_ACCEPTANCE
    return Square(at.points, log_weights, at.log_q, log_step_size)


def _trajectory(
    start: _Scored,
    beta: float,
    step_size: float,
    scored: Callable,
    factor: Tensor,
    num_leapfrog_steps: int,
) -> tuple[_Scored, float]:
    """One Hamiltonian trajectory of every point, and the mean acceptance."""
    momenta = torch.randn(start.points.shape).to(start.points)

    def kick(p: Tensor, at: _Scored) -> Tensor:
        force = 2.0 * beta * at.grad_p + (1.0 - 2.0 * beta) * at.grad_q
        return p + 0.5 * step_size * (force @ factor)

    def energy(p: Tensor, at: _Scored) -> Tensor:
        return 0.5 * (p**2).sum(-1) - 2.0 * beta * at.log_p - (1.0 - 2.0 * beta) * at.log_q

    end, p = start, momenta
    for _ in range(num_leapfrog_steps):
        p = kick(p, end)
        end = scored(end.points + step_size * (p @ factor.mT))
        p = kick(p, end)
    change = energy(momenta, start) - energy(p, end)
    chance = change.nan_to_num(-math.inf, math.inf, -math.inf).clamp(max=0.0).exp()
    accept = torch.rand(len(chance)).to(chance) < chance
    taken = [
        torch.where(accept[(...,) + (None,) * (new.dim() - 1)], new, old)
        for new, old in zip(end, start, strict=True)
    ]
    return _Scored(*taken), float(chance.mean())
