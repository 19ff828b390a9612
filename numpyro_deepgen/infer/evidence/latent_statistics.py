"""What the latent variable of a trained pair carries: active units, divergences, information."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array, lax, random
from jax.scipy.special import logsumexp
from numpyro import handlers

from ..._numerics.checks import check_positive_int
from ..._numerics.latent_statistics import LatentStatistics, summarize_latent
from ..arguments import check_arguments, check_callables
from ..elbo.sites import Site, TracePair
from ..elbo.traces import scored_pair
from .checks import check_latent, check_same_posterior

__all__ = ["latent_statistics"]


def latent_statistics(
    rng_key: Array,
    model: Callable,
    guide: Callable,
    params: dict,
    site: str,
    num_samples: int = 20,
    *,
    args: tuple = (),
    kwargs: dict | None = None,
    threshold: float = 0.01,
    chunk: int = 50,
) -> LatentStatistics:
    r"""Measure what a latent site of each datum carries, by draws of its posteriors.

    .. math::
        A_u = \mathrm{Var}_x\big(\mathbb E_{q(z \mid x)}[z_u]\big), \qquad
        I_q(x; z) = \frac1N \sum_n \mathbb E_{q(z \mid x_n)} \log
            \frac{q(z \mid x_n)}{\frac1N \sum_m q(z \mid x_m)}

    Args:
        rng_key: key of the draws.
        model: a NumPyro model.
        guide: a trained guide that draws the site from the data alone.
        params: its parameters, and those of the model, constrained.
        site: name of the latent site, in one data plate.
        num_samples: number of draws for each datum, at least 2.
        args: positional arguments of model and guide.
        kwargs: keyword arguments of model and guide.
        threshold: activity above which a unit counts as active.
        chunk: number of draws whose density under all posteriors is held at a time.

    Returns:
        :class:`LatentStatistics` with standard errors. The information is estimated among these
        data, and grows with their number up to its true value.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range, the site is no latent site of one data plate
            with at least two data, or its posterior depends on other draws.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> def model(x):
        ...     with numpyro.plate("data", len(x)):
        ...         z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        ...         numpyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> def guide(x):
        ...     loc = jnp.stack([x, jnp.zeros(len(x))], -1)  # the second carries nothing
        ...     with numpyro.plate("data", len(x)):
        ...         numpyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
        >>> x = random.normal(random.key(0), (100,))
        >>> found = latent_statistics(random.key(1), model, guide, {}, "z", args=(x,))
        >>> found.num_active, found.mutual_information > 0
        (1, True)

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, section 5.2; Hoffman
        & Johnson (2016), ELBO surgery, eq. 4; He et al. (2019), Lagging inference networks, eq. 4.
    """
    check_callables(model=model, guide=guide)
    args, kwargs = check_arguments("", args, kwargs)
    num_samples = check_positive_int("num_samples", num_samples, minimum=2)
    chunk = check_positive_int("chunk", chunk)
    draw_key, one_key, other_key = random.split(rng_key, 3)

    def pair_of(key: Array) -> TracePair:
        return scored_pair(key, model, guide, args, kwargs, params)[0]

    with handlers.block():
        one = pair_of(one_key)
        check_latent(site, one)
        posterior, again = one.guide[site], pair_of(other_key).guide[site]
        check_same_posterior(
            site,
            np.asarray(posterior.fn.log_prob(posterior.value)),
            np.asarray(again.fn.log_prob(posterior.value)),
        )

        keys = random.split(draw_key, num_samples)
        values, log_posterior, log_prior, units = _draws(
            keys, site, model, guide, params, args, kwargs
        )
    aggregated = _log_aggregated(posterior, values, chunk)
    return summarize_latent(
        np.asarray(values).reshape((*values.shape[:2], -1)),
        np.asarray(log_posterior, np.float64),
        np.asarray(log_prior, np.float64),
        np.asarray(aggregated, np.float64),
        None if units is None else np.asarray(units, np.float64),
        threshold,
    )


@eqx.filter_jit
def _draws(
    keys: Array,
    site: str,
    model: Callable,
    guide: Callable,
    params: dict,
    args: tuple,
    kwargs: dict,
) -> tuple:
    """Values, log densities of posterior and prior, and their unit terms, for each key."""

    def draw(key: Array) -> tuple:
        pair, _ = scored_pair(key, model, guide, args, kwargs, params)
        own, prior = pair.guide[site], pair.model[site]
        return own.value, own.log_prob, prior.log_prob, _unit_terms(own, prior)

    return lax.map(draw, keys)


def _log_aggregated(posterior: Site, values: Array, chunk: int) -> Array:
    """Log density of each draw under the mixture of the posteriors of all data."""
    rows = values.reshape((-1, *values.shape[2:]))
    return _log_mixture(posterior.fn, rows, chunk).reshape(values.shape[:2])


@partial(jax.jit, static_argnums=2)
def _log_mixture(fn: dist.Distribution, rows: Array, chunk: int) -> Array:
    """Log density of each row under the mixture of a batch of distributions."""

    def one(row: Array) -> Array:
        log_prob = fn.log_prob(row)
        # far from a datum the map of its flow may overflow: there is no mass there
        log_prob = jnp.where(jnp.isnan(log_prob), -jnp.inf, log_prob)
        return logsumexp(log_prob) - jnp.log(log_prob.shape[-1])

    return lax.map(one, rows, batch_size=chunk)


def _unit_terms(own: Site, prior: Site) -> Array | None:
    """Log posterior less log prior of each unit, or None if one of them is no product."""
    terms = [_unit_log_prob(site.fn, own.value) for site in (own, prior)]
    if any(term is None for term in terms):
        return None
    return (terms[0] - terms[1]).reshape(len(own.value), -1)


def _unit_log_prob(fn: dist.Distribution, value: Array) -> Array | None:
    while isinstance(fn, (dist.Independent, dist.ExpandedDistribution)):
        fn = fn.base_dist
    return None if fn.event_shape else fn.log_prob(value)
