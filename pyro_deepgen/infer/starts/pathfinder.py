r"""Pathfinder: the best of the Gaussians that a quasi-Newton path to a mode proposes.

At a point of the path with gradient :math:`\nabla` of the log density the inverse Hessian estimate
:math:`\Sigma` of :mod:`.quasi_newton` gives :math:`q(z) = N(\theta + \Sigma \nabla, \Sigma)`. The
path comes from outside the mode, so that one of its points may describe the mass better than the
mode does.

References:
    Zhang, Carpenter, Gelman & Vehtari (2022), Pathfinder: parallel quasi-Newton variational
    inference, algorithms 1 and 4-5.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..latent_space import UnconstrainedDensity
from .gaussian import Gaussian
from .quasi_newton import PathPoint

__all__ = ["best_on_path"]

NUM_DRAWS = 10
CHUNK_SIZE = 16


@torch.no_grad()
def best_on_path(density: UnconstrainedDensity, path: Sequence[PathPoint]) -> Gaussian | None:
    """Return the Gaussian of the path with the highest ELBO by common draws.

    Args:
        density: the log density.
        path: points of the path; the first, where nothing is known of the curvature, is left out.

    Returns:
        The Gaussian, or None if no bound is finite.
    """
    best, highest = None, -float("inf")
    noise = torch.randn(NUM_DRAWS, density.space.dim).to(path[0].point)
    for first in range(1, len(path), CHUNK_SIZE):
        proposals = [_proposal(place) for place in path[first : first + CHUNK_SIZE]]
        draws = torch.cat([proposal.draw(noise) for proposal in proposals])
        densities = density.batch(draws).reshape(len(proposals), NUM_DRAWS)
        for proposal, log_density in zip(proposals, densities, strict=True):
            elbo = float(log_density.mean() + proposal.entropy(noise))
            # nan compares false
            if highest < elbo < float("inf"):
                best, highest = proposal, elbo
    return best


def _proposal(place: PathPoint) -> Gaussian:
    """The Gaussian at a point of the path; NaN where the estimate is not positive definite."""
    estimate = place.estimate
    loc = place.point + place.direction
    root = estimate.alpha.sqrt()
    beta, gamma = estimate.factors()
    beta = beta / root
    if len(beta) >= loc.numel():
        # algorithm 5: diag(alpha)^(1/2) times the factor of what is between
        middle = torch.eye(loc.numel()).to(loc) + beta.mT @ gamma @ beta
        return Gaussian(loc, root.unsqueeze(-1) * _cholesky(middle))
    # algorithm 4
    frame, upper = torch.linalg.qr(beta.mT)
    core = _cholesky(torch.eye(len(upper)).to(loc) + upper @ gamma @ upper.mT)
    return Gaussian(loc, root, frame, core)


def _cholesky(matrix: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(0.5 * (matrix + matrix.mT))
    return torch.where(info == 0, factor, torch.full_like(factor, float("nan")))
