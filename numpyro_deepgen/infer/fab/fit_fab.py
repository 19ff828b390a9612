"""Training of a guide that covers all mass of a posterior."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from numpyro import handlers
from numpyro.infer.autoguide import AutoContinuous, AutoDiagonalNormal
from numpyro.primitives import mutable

from ..._numerics.checks import check_positive_int
from ..annealing import AnnealedResult
from ..arguments import check_arguments, check_callables
from ..latent_space import LatentSpace, UnconstrainedDensity
from ..training import FitResult, fit
from .bound import BUFFER, Buffer, BufferedDivergence, FABSettings

__all__ = ["fit_fab"]

START_STEP_SIZE = 0.3


def fit_fab(
    rng_key: Array,
    model: Callable,
    guide: AutoContinuous,
    num_steps: int = 2000,
    *,
    particles: AnnealedResult | None = None,
    num_draws: int = 128,
    num_temperatures: int = 4,
    num_leapfrog_steps: int = 5,
    refresh_every: int = 8,
    batch_size: int = 128,
    buffer_size: int = 2048,
    args: tuple = (),
    kwargs: dict | None = None,
    **options,
) -> FitResult:
    r"""Train a guide by flow annealed importance sampling bootstrap, which covers mass.

    .. math::
        D_2(p \,\|\, q) = \log \int \frac{p(z \mid x)^2}{q(z)} \, dz

    Unlike the ELBO, whose divergence goes to infinity where the guide is and the posterior is not,
    this one goes there where the posterior is and the guide is not. Draws of the guide are annealed
    to :math:`p^2 / q`, where its gradient has its mass, and kept in a buffer, from which steps
    choose by weight; the guide is scored at points that are not its own: take a flow that is scored
    as fast as it draws (``nsf``, ``realnvp``). What neither the guide nor annealing from it comes
    near is not found: start from the particles of :func:`annealed_particles`.

    Args:
        rng_key: key of the start and of every step.
        model: a NumPyro model whose latent variables are all continuous, without parameters.
        guide: an :class:`AutoFlow` without local guides, or a continuous guide of the host that
            can be scored.
        num_steps: number of gradient steps.
        particles: what the buffer holds at first. By default those of the guide's own start, where
            it was annealed, else none.
        num_draws: number of draws of the guide that are annealed at a time.
        num_temperatures: temperatures on their way, each with a Hamiltonian trajectory.
        num_leapfrog_steps: steps of a trajectory.
        refresh_every: gradient steps between new draws.
        batch_size: points of the buffer in a gradient step.
        buffer_size: points in the buffer, at least ``num_draws``.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        options: of :func:`fit`: learning rate, checkpoints, averages and the like.

    Returns:
        :class:`FitResult` of a loss that is the cross entropy :math:`-\mathbb E_g \log q`, which
        does not fall all the way. Unless ``keep`` says otherwise, the last parameters.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. Besides, what :func:`fit` raises.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro_deepgen.infer import AutoFlow, annealed_particles
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 3.0))
        ...     numpyro.sample("x", dist.Normal(jnp.abs(z), 0.5), obs=2.0)
        >>> guide = AutoFlow(model, init="laplace", args=())  # one of two modes
        >>> key, particles = random.key(0), annealed_particles(random.key(1), model, 512)
        >>> result = fit_fab(
        ...     key, model, guide, 400, particles=particles, learning_rate=1e-2, progress=False
        ... )
        >>> z = guide.sample_posterior(key, result.params, sample_shape=(1000,))["z"]
        >>> bool(abs((z > 0).mean() - 0.5) < 0.2)
        True

    References:
        Midgley, Stimper, Simm, Scholkopf & Hernandez-Lobato (2023), Flow annealed importance
        sampling bootstrap, algorithm 1.
    """
    check_callables(model=model)
    if not isinstance(guide, AutoContinuous) or getattr(guide, "_local_settings", None) is not None:
        raise TypeError(
            f"guide must be a continuous guide with a density over all latent variables, got "
            f"{type(guide).__name__}; pass AutoFlow(model) without local guides."
        )
    args, kwargs = check_arguments("", args, kwargs)
    settings = FABSettings(
        check_positive_int("num_draws", num_draws, minimum=2),
        check_positive_int("num_temperatures", num_temperatures),
        check_positive_int("num_leapfrog_steps", num_leapfrog_steps),
        check_positive_int("refresh_every", refresh_every),
        check_positive_int("batch_size", batch_size),
    )
    check_positive_int("buffer_size", buffer_size, minimum=num_draws)
    setup_key, fit_key = random.split(rng_key)
    if guide.prototype_trace is None:
        with handlers.block(), handlers.seed(rng_seed=setup_key):
            guide(*args, **kwargs)
    density = _density(setup_key, model, guide, args, kwargs)
    if particles is None:
        particles = getattr(getattr(guide, "init_report", None), "annealed", None)
    start = _first_buffer(density, guide._init_latent, particles, buffer_size, settings)

    def guide_with_buffer(*args, **kwargs):
        mutable(BUFFER, start)
        return guide(*args, **kwargs)

    loss = BufferedDivergence(guide, density.batch, settings)
    options = {"keep": "last", **options}
    result = fit(
        fit_key, model, guide_with_buffer, num_steps, args=args, kwargs=kwargs, loss=loss, **options
    )
    result.params.pop(BUFFER)
    return result


def _density(
    rng_key: Array, model: Callable, guide: AutoContinuous, args: tuple, kwargs: dict
) -> UnconstrainedDensity:
    """The log density of the model on these arguments, whatever the guide was built with."""
    prototype = AutoDiagonalNormal(model, init_loc_fn=guide.init_loc_fn)
    with handlers.block(), handlers.seed(rng_seed=rng_key):
        prototype._setup_prototype(*args, **kwargs)
    space = LatentSpace(prototype.prototype_trace, prototype._init_locs)
    return UnconstrainedDensity(prototype._potential_fn, space)


def _first_buffer(
    density: UnconstrainedDensity,
    like: Array,
    particles: AnnealedResult | None,
    size: int,
    settings: FABSettings,
) -> Buffer:
    """Particles, weighed as if the guide were 1, behind the place of the first draws."""
    points = np.zeros((size, like.size))
    log_weights = np.full(size, -np.inf)
    if particles is not None:
        count = min(len(particles.points), size - settings.num_draws)
        places = slice(settings.num_draws, settings.num_draws + count)
        points[places] = particles.points[:count]
        values = jax.jit(density.batch)(jnp.asarray(points[places], like.dtype))
        log_weights[places] = np.asarray(values) + particles.log_evidence
    arrays = (points, log_weights, np.zeros(size), 1.0, np.log(START_STEP_SIZE))
    return Buffer(*(jnp.asarray(array, like.dtype) for array in arrays), jnp.array(0))
