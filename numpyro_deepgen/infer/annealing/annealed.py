"""Particles of a model's posterior by annealing, with its evidence and modes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array, random
from numpyro import handlers
from numpyro.infer.autoguide import AutoDiagonalNormal
from numpyro.infer.initialization import init_to_median, init_to_sample

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
    rng_key: Array,
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
        rng_key: key of all randomness.
        model: a NumPyro model whose latent variables are all continuous.
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
        AnnealingError: if ``max_stages`` do not lead to the posterior or the particles degenerate.
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range, or no start gives a finite ELBO.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 3.0))
        ...     numpyro.sample("x", dist.Normal(jnp.abs(z), 0.5), obs=3.0)
        >>> result = annealed_particles(random.key(0), model, 512)
        >>> result.samples["z"].shape, len(result.modes.masses)
        ((512,), 2)

    References:
        Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, section 3.
    """
    check_callables(model=model)
    args, kwargs = check_arguments("", args, kwargs)
    settings = check_annealing(
        num_repeats, num_particles, num_moves, num_leapfrog_steps, max_stages
    )
    return prepare_and_run(rng_key, model, init_loc_fn, args, kwargs, settings)[0]


def prepare_and_run(
    rng_key: Array,
    model: Callable,
    init_loc_fn: Callable,
    args: tuple,
    kwargs: dict,
    settings: Annealing,
) -> tuple[AnnealedResult, LatentSpace]:
    """Find the best Gaussian start and anneal; return what is found and the model's space."""
    setup_key, start_key, run_key = random.split(rng_key, 3)
    guide = AutoDiagonalNormal(model, init_loc_fn=init_loc_fn)
    with handlers.block(), handlers.seed(rng_seed=setup_key):
        guide._setup_prototype(*args, **kwargs)
    space = LatentSpace(guide.prototype_trace, guide._init_locs)
    density = UnconstrainedDensity(guide._potential_fn, space)
    with handlers.block():
        start, _ = best_start(start_key, DEFAULT_STARTS, density, guide._init_latent)
        return run_annealing(run_key, model, density, start, args, kwargs, settings), space


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
    rng_key: Array,
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
    prior_key, anneal_key, fit_key = random.split(rng_key, 3)
    space, dtype = density.space, start.loc.dtype
    prior = _prior_points(prior_key, model, space, args, kwargs)
    noise = np.asarray(start.draw(random.normal(fit_key, (256, start.loc.size), dtype)))
    loc, scale_tril = broad_normal(prior, np.asarray(start.loc, np.float64), noise.std(0))
    loc, scale_tril = jnp.asarray(loc, dtype), jnp.asarray(scale_tril, dtype)
    run = jax.jit(lambda *operands: anneal(*operands, settings), static_argnums=1)
    points, _, population = run(anneal_key, density.batch, loc, scale_tril)
    log_evidences = np.asarray(population.log_evidences, np.float64)
    if not np.isfinite(log_evidences).all():
        raise AnnealingError("the density is zero or not finite at all particles of an island")
    if float(population.beta) < 1.0:
        raise AnnealingError(
            f"{settings.max_stages} temperatures led to an inverse temperature of "
            f"{float(population.beta):.3g} only"
        )
    flat, compiled = np.asarray(points, np.float64), jax.jit(density.batch)

    def evaluate(vectors: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(jnp.asarray(vectors, dtype)), np.float64)

    rng = np.random.default_rng(np.asarray(random.bits(fit_key, (4,))))
    try:
        modes = find_modes(flat, evaluate, rng)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise AnnealingError(f"no mixture fits the particles ({error})") from error
    evidence = summarize_islands(log_evidences)
    samples = space.constrain(points)[0]
    return AnnealedResult(samples, flat, *evidence, log_evidences, int(population.stage), modes)


def _prior_points(
    rng_key: Array, model: Callable, space: LatentSpace, args: tuple, kwargs: dict
) -> np.ndarray | None:
    """Draws of the prior on the unconstrained space, or None where it cannot be drawn from."""

    def draw(rng_key: Array) -> Array:
        seeded = handlers.substitute(handlers.seed(model, rng_key), substitute_fn=init_to_sample())
        trace = handlers.trace(seeded).get_trace(*args, **kwargs)
        return space.unconstrain({site.name: trace[site.name]["value"] for site in space.sites})[0]

    keys = random.split(rng_key, NUM_PRIOR_DRAWS)
    try:
        with handlers.block(), numpyro.validation_enabled(False):
            return np.asarray(jax.jit(jax.vmap(draw))(keys), np.float64)
    except Exception:  # whatever a model does with draws that it was not written for
        return None
