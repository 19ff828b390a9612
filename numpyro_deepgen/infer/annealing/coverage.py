"""A check of a trained guide against annealed particles: what it covers, mode by mode."""

import warnings
from collections.abc import Callable

import numpy as np
from jax import Array, random
from numpyro.infer.initialization import init_to_median

from ..arguments import check_arguments, check_callables
from ..importance import importance_resample
from .annealed import check_annealing, prepare_and_run
from .coverage_result import CoverageResult, summarize_coverage

__all__ = ["coverage"]


def coverage(
    rng_key: Array,
    model: Callable,
    guide: Callable,
    params: dict | None = None,
    num_particles: int = 2048,
    *,
    num_proposals: int = 10_000,
    num_repeats: int = 8,
    init_loc_fn: Callable = init_to_median,
    args: tuple = (),
    kwargs: dict | None = None,
) -> CoverageResult:
    r"""Estimate how much of a posterior a trained guide covers, and which modes it has lost.

    .. math::
        c = \hat Z_q / \hat Z, \qquad
        \hat Z_q = \frac1K \sum_k \frac{p(x, z_k)}{q(z_k)}, \quad z_k \sim q,

    :math:`\hat Z` from annealing, which does not know the guide. Weights of the guide's own draws,
    and k-hat with them, cannot tell mass that it never reaches: they agree with one another.

    Args:
        rng_key: key of all randomness.
        model: a NumPyro model whose latent variables are all continuous.
        guide: a trained guide of any kind.
        params: its parameters, from ``SVI.get_params`` or :func:`fit`; None for none.
        num_particles: particles of :func:`annealed_particles`.
        num_proposals: draws of the guide.
        num_repeats: islands of :func:`annealed_particles`.
        init_loc_fn: the host's per-site initialisation function.
        args: positional arguments of model and guide.
        kwargs: keyword arguments of model and guide.

    Returns:
        :class:`CoverageResult`; print it.

    Raises:
        AnnealingError: if annealing does not reach the posterior.
        TypeError: if an argument is of the wrong kind.
        ValueError: as :func:`importance_resample` and :func:`annealed_particles`.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 3.0))
        ...     numpyro.sample("x", dist.Normal(jnp.abs(z), 0.5), obs=3.0)
        >>> def guide():
        ...     numpyro.sample("z", dist.Normal(2.9, 0.6))
        >>> result = coverage(random.key(0), model, guide, num_particles=512)
        >>> 0.3 < result.fraction < 0.7, len(result.lost_modes)
        (True, 1)
    """
    check_callables(model=model, guide=guide)
    args, kwargs = check_arguments("", args, kwargs)
    settings = check_annealing(num_repeats, num_particles, 3, 8, 100)
    anneal_key, draw_key = random.split(rng_key)
    annealed, space = prepare_and_run(anneal_key, model, init_loc_fn, args, kwargs, settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Pareto k-hat")
        weighted = importance_resample(
            draw_key,
            model,
            guide,
            params or {},
            num_proposals=num_proposals,
            args=args,
            kwargs=kwargs,
        )
    points = np.asarray(space.unconstrain(weighted.proposals)[0], np.float64)
    return summarize_coverage(annealed, weighted, points)
