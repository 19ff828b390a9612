"""The Wasserstein auto-encoder objective with the maximum mean discrepancy."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, random
from numpyro import handlers

from ..._numerics.checks import check_positive
from .base import ParticleELBO
from .particles import Program, check_reparameterized
from .settings import check_discrepancy, check_minibatch
from .sites import Plate, TracePair, WeightPlan, plan_weights
from .traces import run_with_params, share_minibatch

__all__ = ["WAEMMD"]

PRIOR_STREAM = 0x7072696F


class WAEMMD(ParticleELBO):
    r"""Reconstruction, and the discrepancy of the aggregated posterior from the prior.

    .. math::
        L = \sum_{n=1}^N \mathbb E_q \log p(x_n \mid z_n)
            - \lambda N\, \mathrm{MMD}^2\Big(\frac1N \sum_n q(z \mid x_n),\, p(z)\Big), \qquad
        k(z, z') = \sum_s \frac{2 d \sigma^2 s}{2 d \sigma^2 s + \|z - z'\|^2}

    The draws of a minibatch, one for each datum and all latent sites side by side, are compared
    with as many of the model's prior by the unbiased estimate, which may be negative. It is no
    bound on the evidence; guides may be point masses.

    Args:
        weight: weight :math:`\lambda` of the discrepancy, positive.
        prior_scale: standard deviation :math:`\sigma` of the prior, for the kernel's width.
        kernel_scales: factors :math:`s` of the widths that are summed over, positive.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. In use: if a site lies outside the data plate,
            there is more than one plate or fewer than two data, sites do not match, or one
            cannot be reparameterised.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro.infer import SVI
        >>> def model(x):
        ...     with numpyro.plate("data", len(x)):
        ...         z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...         numpyro.sample("x", dist.Normal(z, 10.0), obs=x)
        >>> def guide(x):
        ...     slope = numpyro.param("slope", 0.1)
        ...     with numpyro.plate("data", len(x)):
        ...         numpyro.sample("z", dist.Delta(slope * x))
        >>> x = 4.0 * random.normal(random.key(0), (200,))
        >>> svi = SVI(model, guide, numpyro.optim.Adam(0.02), WAEMMD(weight=10.0))
        >>> result = svi.run(random.key(1), 200, x, progress_bar=False)
        >>> bool(abs(result.params["slope"] - 0.25) < 0.1)  # matches the prior's scale
        True

    References:
        Tolstikhin, Bousquet, Gelly & Schoelkopf (2018), Wasserstein auto-encoders, alg. 2 and
        section 4; Gretton et al. (2012), A kernel two-sample test, eq. 3.
    """

    def __init__(
        self,
        weight: float = 10.0,
        prior_scale: float = 1.0,
        kernel_scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    ):
        super().__init__(1, None)
        self.weight = check_positive("weight", weight)
        self.prior_scale = check_positive("prior_scale", prior_scale)
        self.kernel_scales = check_discrepancy(kernel_scales)

    def bound(self, program: Program) -> Array:
        """Reconstruction less the weighted discrepancy."""
        # the prior's draws are of the same minibatch
        program.model, program.guide = share_minibatch(
            program.rng_key, program.model, program.guide
        )
        plans: list[WeightPlan] = []

        def terms(pair: TracePair) -> dict[str, Array]:
            plans.append(plan_weights(pair, False))
            return _terms(pair, check_minibatch(plans[0].plates))

        found = program.particles(terms)
        (plate,) = plans[0].plates
        codes, count = found["codes"][0], plans[0].scale * plate.subsample_size
        widths = [2.0 * codes.shape[-1] * self.prior_scale**2 * s for s in self.kernel_scales]
        gap = _squared_discrepancy(codes, _prior_codes(program, plate), widths)
        return plans[0].scale * found["rest"].sum() - self.weight * count * gap


def _terms(pair: TracePair, plate: Plate) -> dict[str, Array]:
    """Log density of what is observed, and the latent draws of each datum side by side."""
    check_reparameterized(pair, "WAEMMD")
    rest = sum(site.log_prob.sum() for site in pair.model.values() if site.observed)
    rest = rest - sum(site.log_prob.sum() for site in pair.guide.values() if site.observed)
    latent = [site for site in pair.model.values() if not site.observed]
    codes = [_rows(site.value, site.fn.event_dim, plate) for site in latent]
    return {"rest": rest, "codes": jnp.concatenate(codes, -1)}


def _prior_codes(program: Program, plate: Plate) -> Array:
    """Draws of the model's latent sites by datum."""
    key = random.fold_in(program.rng_key, PRIOR_STREAM)
    model = handlers.seed(program.model, key)
    trace = run_with_params(model, program.args, program.kwargs, program.params)
    latent = [s for s in trace.values() if s["type"] == "sample" and not s["is_observed"]]
    return jnp.concatenate([_rows(s["value"], s["fn"].event_dim, plate) for s in latent], -1)


def _rows(value: Array, event_dim: int, plate: Plate) -> Array:
    """A value as a matrix with a row for each datum."""
    return jnp.moveaxis(value, plate.dim - event_dim, 0).reshape(plate.subsample_size, -1)


def _squared_discrepancy(x: Array, y: Array, widths: Sequence[float]) -> Array:
    """Unbiased estimate of the squared discrepancy (Gretton et al. 2012, eq. 3)."""

    def kernel(a: Array, b: Array) -> Array:
        distance = jnp.square(a[:, None] - b).sum(-1)
        return sum(width / (width + distance) for width in widths)

    def among(a: Array) -> Array:
        found = kernel(a, a)
        return (found.sum() - jnp.trace(found)) / (len(a) * (len(a) - 1))

    return among(x) + among(y) - 2.0 * kernel(x, y).mean()
