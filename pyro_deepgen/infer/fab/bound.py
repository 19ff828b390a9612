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

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.autoguide import AutoContinuous
from torch import Tensor

from .square import anneal_to_square

__all__ = ["BufferedDivergence", "FABSettings", "GuideWithBuffer"]

MAX_LOG_CORRECTION = 2.303
MIN_SHARE = 0.1
NUM_BISECTIONS = 20
START_STEP_SIZE = 0.3


class FABSettings(NamedTuple):
    """Draws a refreshment, their temperatures and leapfrog steps, steps between, rows a step."""

    num_draws: int
    num_temperatures: int
    num_leapfrog_steps: int
    refresh_every: int
    batch_size: int


class GuideWithBuffer(torch.nn.Module):
    """A guide, and weighed draws of the past, the oldest of which the next ones replace.

    Args:
        guide: the guide.
        points: shape ``(N, D)``.
        log_weights: with respect to the square over a guide of density 1, shape ``(N,)``.
    """

    def __init__(self, guide: AutoContinuous, points: Tensor, log_weights: Tensor):
        super().__init__()
        self.guide = guide
        self.register_buffer("points", points)
        self.register_buffer("log_weights", log_weights)
        # of the guide that they were weighed with
        self.register_buffer("log_guides", torch.zeros_like(log_weights))
        self.register_buffer("power", log_weights.new_tensor(1.0))
        self.register_buffer("log_step_size", log_weights.new_tensor(START_STEP_SIZE).log())
        self.register_buffer("step", torch.tensor(0))

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        """Sample as the guide does."""
        return self.guide(*args, **kwargs)


class BufferedDivergence(ELBO):
    """The cross entropy whose gradient is that of the divergence of order 2.

    Args:
        density: log density of the posterior, ``(N, D)`` to ``(N,)``.
        settings: sizes.
    """

    def __init__(self, density: Callable, settings: FABSettings):
        super().__init__()
        self._density, self._settings = density, settings

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple:
        raise NotImplementedError("this objective scores the guide at points of its buffer")

    def loss_and_grads(self, model: Callable, guide: GuideWithBuffer, *args, **kwargs) -> float:
        """Return the cross entropy of a batch, and leave its gradients on the parameters."""
        # the host's parameters are met where the guide is called
        with poutine.block(hide_types=["sample"]):
            guide(*args, **kwargs)
        loss = self._cross_entropy(guide)
        loss.backward()
        return loss.item()

    @torch.no_grad()
    def loss(self, model: Callable, guide: GuideWithBuffer, *args, **kwargs) -> float:
        """Return the cross entropy of a batch."""
        return self._cross_entropy(guide).item()

    def _cross_entropy(self, guide: GuideWithBuffer) -> Tensor:
        settings = self._settings
        if int(guide.step) % settings.refresh_every == 0:
            self._refresh(guide)
        chances = (guide.power * guide.log_weights).softmax(0)
        rows = torch.multinomial(chances, settings.batch_size, replacement=True)
        log_q = guide.guide.get_posterior().log_prob(guide.points[rows])
        with torch.no_grad():
            gains = guide.log_guides[rows] - log_q
            corrections = (guide.power * gains).clamp(max=MAX_LOG_CORRECTION).exp()
            guide.log_weights[rows] = guide.log_weights[rows] + gains
            guide.log_guides[rows] = log_q
            guide.step += 1
        return -(corrections * log_q).mean()

    @torch.no_grad()
    def _refresh(self, guide: GuideWithBuffer) -> None:
        """Weigh what is there by the present guide, and put new draws in place of the oldest."""
        settings, posterior = self._settings, guide.guide.get_posterior()
        found = anneal_to_square(
            self._density,
            posterior.log_prob,
            posterior.sample((settings.num_draws,)),
            float(guide.log_step_size),
            settings.num_temperatures,
            settings.num_leapfrog_steps,
        )
        log_guides = posterior.log_prob(guide.points)
        log_weights = guide.log_weights + guide.log_guides - log_guides
        first = int(guide.step) // settings.refresh_every * settings.num_draws
        places = (first + torch.arange(settings.num_draws)) % len(log_weights)
        guide.points[places], log_guides[places] = found.points, found.log_guides
        log_weights[places] = found.log_weights
        guide.log_weights.copy_(log_weights.nan_to_num(-math.inf, math.inf, -math.inf))
        guide.log_guides.copy_(log_guides)
        guide.power.fill_(_power(guide.log_weights))
        guide.log_step_size.fill_(found.log_step_size)


def _power(log_weights: Tensor) -> float:
    """The largest exponent up to 1 at which a share of the weights counts."""
    scaled = log_weights[log_weights > -math.inf]
    scaled = scaled - scaled.max()
    least = math.log(MIN_SHARE * len(scaled))

    def enough(power: float) -> bool:
        powers = power * scaled
        return bool(2 * powers.logsumexp(0) - (2 * powers).logsumexp(0) >= least)

    low, high = 0.0, 1.0
    if enough(high):
        return high
    for _ in range(NUM_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low
