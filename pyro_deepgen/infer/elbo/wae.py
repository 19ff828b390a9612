"""The Wasserstein auto-encoder objective with the maximum mean discrepancy."""

from collections.abc import Sequence

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from ..._numerics.checks import check_positive
from .base import ParticleELBO
from .particles import Program, check_reparameterized
from .settings import check_discrepancy, check_minibatch
from .sites import Plate, TracePair, WeightPlan, plan_weights

__all__ = ["WAEMMD"]


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
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro.infer import SVI
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 10.0), obs=x)
        >>> def guide(x):
        ...     slope = pyro.param("slope", torch.tensor(0.1))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Delta(slope * x))
        >>> x = 4.0 * torch.randn(200)
        >>> svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), WAEMMD(weight=10.0))
        >>> losses = [svi.step(x) for _ in range(200)]
        >>> abs(pyro.param("slope").item() - 0.25) < 0.1  # matches the prior's scale
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

    def bound(self, program: Program) -> Tensor:
        """Reconstruction less the weighted discrepancy."""
        plans: list[WeightPlan] = []

        def terms(pair: TracePair, particles: int | None) -> dict[str, Tensor]:
            plans.append(plan_weights(pair, False))
            return _terms(pair, check_minibatch(plans[0].plates))

        found = program.particles(terms)
        (plate,) = plans[0].plates
        codes, count = found["codes"][0], plans[0].scale * plate.subsample_size
        widths = [2.0 * codes.shape[-1] * self.prior_scale**2 * s for s in self.kernel_scales]
        gap = _squared_discrepancy(codes, _prior_codes(program, plate), widths)
        return plans[0].scale * found["rest"].sum() - self.weight * count * gap


def _terms(pair: TracePair, plate: Plate) -> dict[str, Tensor]:
    """Log density of what is observed, and the latent draws of each datum side by side."""
    check_reparameterized(pair, "WAEMMD")
    rest = sum(site.log_prob.sum() for site in pair.model.values() if site.observed)
    rest = rest - sum(site.log_prob.sum() for site in pair.guide.values() if site.observed)
    latent = [site for site in pair.model.values() if not site.observed]
    codes = [_rows(site.value, site.fn.event_dim, plate) for site in latent]
    return {"rest": rest, "codes": torch.cat(codes, -1)}


def _prior_codes(program: Program, plate: Plate) -> Tensor:
    """Draws of the model's latent sites by datum."""
    with program.minibatch:
        trace = poutine.trace(program.model).get_trace(*program.args, **program.kwargs)
    nodes = [n for n in prune_subsample_sites(trace).nodes.values() if n["type"] == "sample"]
    latent = [node for node in nodes if not node["is_observed"]]
    return torch.cat([_rows(n["value"], n["fn"].event_dim, plate) for n in latent], -1)


def _rows(value: Tensor, event_dim: int, plate: Plate) -> Tensor:
    """A value as a matrix with a row for each datum."""
    return value.movedim(plate.dim - event_dim, 0).reshape(plate.subsample_size, -1)


def _squared_discrepancy(x: Tensor, y: Tensor, widths: Sequence[float]) -> Tensor:
    """Unbiased estimate of the squared discrepancy (Gretton et al. 2012, eq. 3)."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = (a[:, None] - b).square().sum(-1)
        return sum(width / (width + distance) for width in widths)

    def among(a: Tensor) -> Tensor:
        found = kernel(a, a)
        return (found.sum() - found.diagonal().sum()) / (len(a) * (len(a) - 1))

    return among(x) + among(y) - 2.0 * kernel(x, y).mean()
