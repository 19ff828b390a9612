"""Particles of a model's posterior by annealing, with its evidence and modes."""

from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDiagonalNormal
from pyro.infer.autoguide.initialization import InitMessenger, init_to_median, init_to_sample
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ..arguments import check_arguments, check_callables
from ..latent_space import LatentSpace, UnconstrainedDensity
from ..starts import DEFAULT_STARTS, best_start
from ..starts.gaussian import Gaussian
from .broad import broad_normal
from .modes import find_modes
from .result import AnnealedResult, summarize_islands
from .tempering import Annealing, anneal

__all__ = [
    "AnnealingError",
    "annealed_particles",
    "check_annealing",
    "prepare_and_run",
    "run_annealing",
]

NUM_PRIOR_DRAWS = 64


class AnnealingError(RuntimeError):
    """Annealing did not reach the posterior; the message says why."""


def annealed_particles(
    model: Callable,
    num_particles: int = 1024,
    *,
    num_repeats: int = 4,
    num_moves: int = 3,
    num_leapfrog_steps: int = 8,
    max_stages: int = 100,
    init_loc_fn: Callable = init_to_median,
    args: tuple = (),
    kwargs: dict | None = None,
) -> AnnealedResult:
    r"""Draw from a posterior of several modes by sequential Monte Carlo.

    Particles of a broad normal distribution, which covers the prior and the best Gaussian start,
    are led to the posterior through tempered densities

    .. math::
        p_\beta(z) \propto q_0(z)^{1 - \beta} \, p(x, z)^\beta,

    the temperatures chosen by the effective sample size, each stage followed by resampling and
    preconditioned Hamiltonian moves. A mixture of normals is fitted to them, which tells the modes
    and their masses, and whose importance weights give the evidence once more.

    Args:
        model: a Pyro model whose latent variables are all continuous; it must run under
            ``torch.vmap``.
        num_particles: number of particles in all islands together, a multiple of ``num_repeats``.
        num_repeats: number of islands, at least 2, each with an estimate of the evidence.
        num_moves: Hamiltonian trajectories a stage.
        num_leapfrog_steps: steps of each.
        max_stages: largest number of temperatures.
        init_loc_fn: the host's per-site initialisation function.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.

    Returns:
        :class:`AnnealedResult`. It holds every mode that has mass under the broad distribution's
        path; that no other exists is not proved by it.

    Raises:
        AnnealingError: if ``max_stages`` do not lead to the posterior, the particles degenerate, or
            the model cannot be vectorised.
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range, or no start gives a finite ELBO.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(0.0, 3.0))
        ...     pyro.sample("x", dist.Normal(z.abs(), 0.5), obs=torch.tensor(3.0))
        >>> pyro.set_rng_seed(0)
        >>> result = annealed_particles(model, 512)
        >>> result.samples["z"].shape, len(result.modes.masses)
        (torch.Size([512]), 2)

    References:
        Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, section 3.
    """
    check_callables(model=model)
    args, kwargs = check_arguments("", args, kwargs)
    settings = check_annealing(
        num_repeats, num_particles, num_moves, num_leapfrog_steps, max_stages
    )
    return prepare_and_run(model, init_loc_fn, args, kwargs, settings)[0]


def prepare_and_run(
    model: Callable, init_loc_fn: Callable, args: tuple, kwargs: dict, settings: Annealing
) -> tuple[AnnealedResult, LatentSpace]:
    """Find the best Gaussian start and anneal; return what is found and the model's space."""
    guide = AutoDiagonalNormal(model, init_loc_fn=init_loc_fn)
    with poutine.block():
        guide._setup_prototype(*args, **kwargs)
        space = LatentSpace(guide.prototype_trace)
        density = UnconstrainedDensity(model, space, args, kwargs)
        with torch.enable_grad():
            start, _ = best_start(DEFAULT_STARTS, density, guide._init_loc())
            return run_annealing(model, density, start, args, kwargs, settings), space


def check_annealing(
    num_repeats: int,
    num_particles: int,
    num_moves: int,
    num_leapfrog_steps: int,
    max_stages: int,
) -> Annealing:
    """Return checked settings."""
    check_positive_int("num_repeats", num_repeats, minimum=2)
    check_positive_int("num_particles", num_particles, minimum=32 * num_repeats)
    if num_particles % num_repeats:
        raise ValueError(
            f"num_particles must be a multiple of num_repeats={num_repeats}, got {num_particles}; "
            f"pass {num_particles - num_particles % num_repeats}."
        )
    check_positive_int("num_moves", num_moves)
    check_positive_int("num_leapfrog_steps", num_leapfrog_steps)
    check_positive_int("max_stages", max_stages)
    return Annealing(num_repeats, num_particles, num_moves, num_leapfrog_steps, max_stages)


def run_annealing(
    model: Callable,
    density: UnconstrainedDensity,
    start: Gaussian,
    args: tuple,
    kwargs: dict,
    settings: Annealing,
) -> AnnealedResult:
    """Anneal from a broad distribution around the prior and a start.

    Raises:
        AnnealingError: if the posterior is not reached.
    """
    if not density.vectorizes(start.loc):
        raise AnnealingError("the model does not run under torch.vmap")
    space = density.space
    prior = _prior_points(model, space, args, kwargs)
    noise = torch.randn(256, start.loc.numel()).to(start.loc)
    scale = start.draw(noise).std(0).double().cpu().numpy()
    loc, scale_tril = broad_normal(prior, start.loc.double().cpu().numpy(), scale)
    loc, scale_tril = (torch.as_tensor(array).to(start.loc) for array in (loc, scale_tril))
    points, _, population = anneal(density.batch, loc, scale_tril, settings)
    log_evidences = population.log_evidences.double().cpu().numpy()
    if not np.isfinite(log_evidences).all():
        raise AnnealingError("the density is zero or not finite at all particles of an island")
    if population.beta < 1.0:
        raise AnnealingError(
            f"{settings.max_stages} temperatures led to an inverse temperature of "
            f"{population.beta:.3g} only"
        )
    flat = points.double().cpu().numpy()

    @torch.no_grad()
    def evaluate(vectors: np.ndarray) -> np.ndarray:
        return density.batch(torch.as_tensor(vectors).to(points)).double().cpu().numpy()

    rng = np.random.default_rng(torch.randint(2**31, (4,)).numpy())
    try:
        modes = find_modes(flat, evaluate, rng)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise AnnealingError(f"no mixture fits the particles ({error})") from error
    evidence = summarize_islands(log_evidences)
    samples = space.constrain(points)[0]
    return AnnealedResult(samples, flat, *evidence, log_evidences, population.stage, modes)


@torch.no_grad()
def _prior_points(
    model: Callable, space: LatentSpace, args: tuple, kwargs: dict
) -> np.ndarray | None:
    """Draws of the prior on the unconstrained space, or None where it cannot be drawn from."""

    def draw() -> Tensor:
        trace = poutine.trace(InitMessenger(init_to_sample)(model)).get_trace(*args, **kwargs)
        values = {site.name: trace.nodes[site.name]["value"] for site in space.sites}
        return space.unconstrain(values)[0]

    try:
        with poutine.block(), pyro.validation_enabled(False):
            return torch.stack([draw() for _ in range(NUM_PRIOR_DRAWS)]).double().cpu().numpy()
    except Exception:  # whatever a model does with draws that it was not written for
        return None
