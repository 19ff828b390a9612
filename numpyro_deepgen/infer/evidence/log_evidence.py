"""The log evidence of each datum by importance sampling from a trained guide."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from numpyro import handlers

from ..._numerics.checks import check_positive_int
from ..._numerics.streaming_weights import StreamingWeights
from ..arguments import check_arguments, check_callables
from ..elbo.particles import log_weights_of
from ..elbo.sites import plan_weights
from ..elbo.traces import scored_pair, share_minibatch
from .result import EvidenceResult, evidence_result

__all__ = ["log_evidence"]


def log_evidence(
    rng_key: Array,
    model: Callable,
    guide: Callable,
    params: dict,
    num_samples: int = 5000,
    *,
    args: tuple = (),
    kwargs: dict | None = None,
    chunk: int = 100,
    joint: bool = False,
) -> EvidenceResult:
    r"""Estimate the log evidence of each datum with draws of a guide as proposals.

    .. math::
        \log \hat p(x_n) = \log \frac1K \sum_{k=1}^K \frac{p(x_n, z_{nk})}{q(z_{nk} \mid x_n)}

    The mean is streamed in double precision, so that the memory is that of one chunk. A second
    call with the same model and guide and arguments of the same shapes compiles nothing.

    Args:
        rng_key: key of the draws.
        model: a NumPyro model with every site in a data plate, or none.
        guide: a trained guide of any kind, discrete sites included.
        params: its parameters, and those of the model, constrained.
        num_samples: number :math:`K` of draws for each datum, at least 2.
        args: positional arguments of model and guide.
        kwargs: keyword arguments of model and guide.
        chunk: number of draws that are scored at a time.
        joint: whether to estimate one evidence of all data. It must be where a latent site lies
            outside the data plate.

    Returns:
        :class:`EvidenceResult`, its arrays of the shape of the data plates.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range, a site lies outside the data plate, sites do
            not match, or a weight is NaN or infinite.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> def model(x):
        ...     with numpyro.plate("data", len(x)):
        ...         z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...         numpyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with numpyro.plate("data", len(x)):
        ...         numpyro.sample("z", dist.Normal(x / 2, 0.8))
        >>> x = jnp.array([0.0, 1.0, 2.0])
        >>> found = log_evidence(random.key(0), model, guide, {}, 1000, args=(x,))
        >>> exact = dist.Normal(0.0, 2.0**0.5).log_prob(x)
        >>> bool((abs(found.log_evidence - exact) < 5 * found.error + 1e-5).all())
        True

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, eq. 8; Rezende,
        Mohamed & Wierstra (2014), Stochastic backpropagation, appendix E.
    """
    check_callables(model=model, guide=guide)
    args, kwargs = check_arguments("", args, kwargs)
    num_samples = check_positive_int("num_samples", num_samples, minimum=2)
    chunk = min(check_positive_int("chunk", chunk), num_samples)
    plate_key, draw_key = random.split(rng_key)
    stream = StreamingWeights()
    with handlers.block():
        for start, key in enumerate(random.split(draw_key, -(-num_samples // chunk))):
            found, scale = _log_weights(
                plate_key, random.split(key, chunk), model, guide, params, args, kwargs, joint
            )
            found = np.asarray(found, np.float64)
            stream.add(found[: num_samples - start * chunk])
    return evidence_result(stream, float(scale[0]))


@eqx.filter_jit
def _log_weights(
    plate_key: Array,
    keys: Array,
    model: Callable,
    guide: Callable,
    params: dict,
    args: tuple,
    kwargs: dict,
    joint: bool,
) -> tuple[Array, Array]:
    """Log weights of a particle for each key, and the scale of their sum."""
    model, guide = share_minibatch(plate_key, model, guide)

    def run(rng_key: Array) -> tuple[Array, Array]:
        pair, _ = scored_pair(rng_key, model, guide, args, kwargs, params)
        plan = plan_weights(pair, joint)
        return log_weights_of(pair, plan), jnp.asarray(plan.scale)

    return jax.vmap(run)(keys)
