"""The log evidence of each datum by importance sampling from a trained guide."""

from collections.abc import Callable

import torch
from pyro import poutine
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ..._numerics.streaming_weights import StreamingWeights
from .._vectorize import plate_nesting_if_vectorizable
from ..arguments import check_arguments, check_callables
from ..elbo.particles import Program, log_weights_of
from ..elbo.sites import TracePair, WeightPlan, plan_weights
from .result import EvidenceResult, evidence_result

__all__ = ["log_evidence"]


@torch.no_grad()
def log_evidence(
    model: Callable,
    guide: Callable,
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

    The mean is streamed in double precision, so that the memory is that of one chunk. Draws are
    made in an outermost plate where model and guide allow it, else one by one.

    Args:
        model: a Pyro model with every site in a data plate, or none.
        guide: a trained guide of any kind, discrete sites included, with its parameters where
            the host keeps them.
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
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.8))
        >>> x = torch.tensor([0.0, 1.0, 2.0])
        >>> found = log_evidence(model, guide, 1000, args=(x,))
        >>> exact = dist.Normal(0.0, 2.0**0.5).log_prob(x).numpy()
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
    plans: list[WeightPlan] = []

    def terms(pair: TracePair, particles: int | None) -> dict[str, Tensor]:
        if not plans:
            plans.append(plan_weights(pair, joint))
        return {"log_weights": log_weights_of(pair, plans[0], particles)}

    stream = StreamingWeights()
    with poutine.block():
        nesting = plate_nesting_if_vectorizable(model, guide, args, kwargs) if chunk > 1 else None
        program = Program(model, guide, args, kwargs, num_samples, chunk, nesting)
        for part in program.stream(terms):
            stream.add(part["log_weights"].double().cpu().numpy())
    return evidence_result(stream, plans[0].scale)
