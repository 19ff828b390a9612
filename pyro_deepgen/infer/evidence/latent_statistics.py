"""What the latent variable of a trained pair carries: active units, divergences, information."""

from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Independent

from ..._numerics.checks import check_positive_int
from ..._numerics.latent_statistics import LatentStatistics, summarize_latent
from ..arguments import check_arguments, check_callables
from ..elbo.sites import Site, TracePair
from ..elbo.traces import scored_pair
from .checks import check_latent, check_same_posterior

__all__ = ["latent_statistics"]


@torch.no_grad()
def latent_statistics(
    model: Callable,
    guide: Callable,
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
        model: a Pyro model.
        guide: a trained guide that draws the site from the data alone.
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
        >>> import pyro, torch, pyro.distributions as dist
        >>> pyro.set_rng_seed(0)
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> def guide(x):
        ...     loc = torch.stack([x, torch.zeros(len(x))], -1)  # the second carries nothing
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
        >>> found = latent_statistics(model, guide, "z", args=(torch.randn(100),))
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
    with poutine.block():
        pairs = [scored_pair(model, guide, args, kwargs) for _ in range(num_samples)]
    check_latent(site, pairs[0])
    posterior, other = pairs[0].guide[site], pairs[1].guide[site]
    again = other.fn.log_prob(posterior.value)
    check_same_posterior(site, _numpy(posterior.fn.log_prob(posterior.value)), _numpy(again))
    values = [pair.guide[site].value for pair in pairs]
    aggregated = [_log_aggregated(posterior, value, chunk) for value in values]
    units = [_unit_terms(pair, site) for pair in pairs]
    return summarize_latent(
        np.stack([_numpy(value).reshape(len(value), -1) for value in values]),
        np.stack([_numpy(pair.guide[site].log_prob) for pair in pairs]),
        np.stack([_numpy(pair.model[site].log_prob) for pair in pairs]),
        np.stack(aggregated),
        None if units[0] is None else np.stack(units),
        threshold,
    )


def _log_aggregated(posterior: Site, value: Tensor, chunk: int) -> np.ndarray:
    """Log density of each draw under the mixture of the posteriors of all data."""
    found = []
    for part in value.split(chunk):
        # far from a datum the map of its flow may overflow: there is no mass there
        with pyro.validation_enabled(False):
            log_prob = posterior.fn.log_prob(part[:, None]).double()
        log_prob = torch.where(log_prob.isnan(), -torch.inf, log_prob)
        found.append(torch.logsumexp(log_prob, -1) - np.log(log_prob.shape[-1]))
    return _numpy(torch.cat(found))


def _unit_terms(pair: TracePair, name: str) -> np.ndarray | None:
    """Log posterior less log prior of each unit, or None if one of them is no product."""
    value = pair.guide[name].value
    terms = [_unit_log_prob(sites[name].fn, value) for sites in (pair.guide, pair.model)]
    if any(term is None for term in terms):
        return None
    difference = _numpy(terms[0] - terms[1])
    return difference.reshape(len(value), -1)


def _unit_log_prob(fn, value: Tensor) -> Tensor | None:
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return None if fn.event_shape else fn.log_prob(value)


def _numpy(value: Tensor) -> np.ndarray:
    return value.double().cpu().numpy()
