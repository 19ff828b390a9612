r"""Pathfinder: the best of the Gaussians that a quasi-Newton path to a mode proposes.

At a point of the path with gradient :math:`\nabla` of the log density the inverse Hessian estimate
:math:`\Sigma` of :mod:`.quasi_newton` gives :math:`q(z) = N(\theta + \Sigma \nabla, \Sigma)`. The
path comes from outside the mode, so that one of its points may describe the mass better than the
mode does.

References:
    Zhang, Carpenter, Gelman & Vehtari (2022), Pathfinder: parallel quasi-Newton variational
    inference, algorithms 1 and 4-5.
"""

import jax
import jax.numpy as jnp
from jax import Array, random

from ..latent_space import UnconstrainedDensity
from .gaussian import Gaussian
from .quasi_newton import PathPoint, ascent, start_point

__all__ = ["best_on_path"]

NUM_DRAWS = 10


def best_on_path(
    rng_key: Array, density: UnconstrainedDensity, init_loc: Array
) -> tuple[PathPoint, Gaussian]:
    """Climb to a mode; return its end and the Gaussian of the path with the highest ELBO.

    The bounds are compared by common draws. At the first point nothing is known of the curvature,
    so it is left out.

    Args:
        rng_key: key of the draws.
        density: the log density.
        init_loc: the start, shape ``(D,)``.

    Returns:
        The last point of the path, and the Gaussian; it is NaN if no bound is finite.
    """
    noise = random.normal(rng_key, (NUM_DRAWS, init_loc.size), init_loc.dtype)

    def visit(place: PathPoint, seen: tuple[Array, Gaussian]) -> tuple[Array, Gaussian]:
        proposal = _proposal(place)
        elbo = density.batch(proposal.draw(noise)).mean() + proposal.entropy(noise)
        # nan compares false
        better = (elbo > seen[0]) & (elbo < jnp.inf)
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), (elbo, proposal), seen)

    shapes = jax.eval_shape(_proposal, start_point(init_loc))
    nothing = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)
    lowest = jnp.full((), -jnp.inf, init_loc.dtype)
    last, (_, best) = ascent(density, init_loc, visit, (lowest, nothing))
    return last, best


def _proposal(place: PathPoint) -> Gaussian:
    """The Gaussian at a point of the path; NaN where the estimate is not positive definite."""
    estimate = place.estimate
    loc = place.point + place.direction
    root = jnp.sqrt(estimate.alpha)
    beta, gamma = estimate.factors()
    beta = beta / root
    if len(beta) >= loc.size:
        # algorithm 5: diag(alpha)^(1/2) times the factor of what is between
        middle = jnp.eye(loc.size, dtype=loc.dtype) + beta.mT @ gamma @ beta
        return Gaussian(loc, root[:, None] * jnp.linalg.cholesky(middle))
    # algorithm 4
    frame, upper = jnp.linalg.qr(beta.mT)
    core = jnp.eye(len(upper), dtype=loc.dtype) + upper @ gamma @ upper.mT
    return Gaussian(loc, root, frame, jnp.linalg.cholesky(core))
