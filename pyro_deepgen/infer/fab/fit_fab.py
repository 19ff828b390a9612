"""Training of a guide that covers all mass of a posterior."""

from collections.abc import Callable

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ..annealing import AnnealedResult
from ..arguments import check_arguments, check_callables
from ..latent_space import LatentSpace, UnconstrainedDensity
from ..training import FitResult, fit
from .bound import BufferedDivergence, FABSettings, GuideWithBuffer

__all__ = ["fit_fab"]


def fit_fab(
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
        model: a Pyro model whose latent variables are all continuous, without parameters.
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
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro_deepgen.infer import AutoFlow, annealed_particles
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(0.0, 3.0))
        ...     pyro.sample("x", dist.Normal(z.abs(), 0.5), obs=torch.tensor(2.0))
        >>> pyro.set_rng_seed(0)
        >>> guide = AutoFlow(model, init="laplace", args=())  # one of two modes
        >>> particles = annealed_particles(model, 512)
        >>> result = fit_fab(
        ...     model, guide, 400, particles=particles, learning_rate=1e-2, progress=False
        ... )
        >>> z = guide.sample_posterior((1000,))["z"]
        >>> abs((z > 0).float().mean().item() - 0.5) < 0.2
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
    if guide.prototype_trace is None:
        with poutine.block():
            guide(*args, **kwargs)
    density = _density(model, guide, args, kwargs)
    if particles is None:
        particles = getattr(getattr(guide, "init_report", None), "annealed", None)
    start = _first_buffer(density, guide._init_loc(), particles, buffer_size, settings)
    loss = BufferedDivergence(density.batch, settings)
    options = {"keep": "last", **options}
    return fit(
        model,
        GuideWithBuffer(guide, *start),
        num_steps,
        args=args,
        kwargs=kwargs,
        loss=loss,
        **options,
    )


def _density(
    model: Callable, guide: AutoContinuous, args: tuple, kwargs: dict
) -> UnconstrainedDensity:
    """The log density of the model on these arguments, whatever the guide was built with."""
    return UnconstrainedDensity(model, LatentSpace(guide.prototype_trace), args, kwargs)


@torch.no_grad()
def _first_buffer(
    density: UnconstrainedDensity,
    like: Tensor,
    particles: AnnealedResult | None,
    size: int,
    settings: FABSettings,
) -> tuple[Tensor, Tensor]:
    """Particles, weighed as if the guide were 1, behind the place of the first draws."""
    points = like.new_zeros(size, like.numel())
    log_weights = like.new_full((size,), -float("inf"))
    if particles is not None:
        count = min(len(particles.points), size - settings.num_draws)
        places = slice(settings.num_draws, settings.num_draws + count)
        points[places] = torch.as_tensor(particles.points[:count]).to(like)
        log_weights[places] = density.batch(points[places]) + particles.log_evidence
    return points, log_weights
