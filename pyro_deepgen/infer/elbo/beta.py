"""The evidence lower bound with a weighted divergence."""

from collections.abc import Callable

import torch
from torch import Tensor

from .closed_forms import check_order, closed_divergence
from .divergence import Divergence
from .particles import Program, check_reparameterized, per_element
from .scheduled import ScheduledELBO
from .sites import Site, TracePair

__all__ = ["BetaELBO"]


class BetaELBO(ScheduledELBO):
    r"""The evidence lower bound with a weight and free nats of the divergence.

    .. math::
        L = \sum_{n=1}^N \mathbb E_q \log p(x_n \mid z_n)
            - \beta \sum_g \max\Big(N \lambda_g, \sum_{n=1}^N \mathrm{KL}_{gn}\Big)

    The divergence :math:`\mathrm{KL}_{gn}` of a group of sites and a datum is estimated at the
    draws; its mean over minibatch and particles is what the free nats :math:`\lambda_g` are
    compared with. Evaluations are at weight 1 without free nats, which is the bound: that of
    Pyro's ``loss``, that of :attr:`evaluation`, and every evaluation of ``fit``.

    Args:
        beta: weight :math:`\beta`, at least 0, or a schedule: :class:`KLWarmup`, :class:`KLCycle`
            or a function of the step with ``num_steps``, from which it stays. ``fit`` follows a
            schedule, and refuses to end before it does. With the host's ``SVI``, pass
            ``kl_weight=schedule(step)`` to each step; it overrides ``beta``.
        num_particles: number of draws to average over.
        chunk: number of particles whose computations are held in memory, None for all.
        free_bits: nats :math:`\lambda_g` of each group and datum, at least 0, or a dictionary by
            group (others have none).
        groups: names of latent sites by group, None for each site by itself. Sites that are
            functions of auxiliary ones make one group.
        analytic: whether divergences are in closed form where the host has one, given the draws
            that the site depends on. Model and guide must draw their sites in one order, as a
            top-down guide does; a bottom-up guide makes closed forms wrong.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. In use: if sites do not match, one cannot be
            reparameterised, groups do not hold every latent site once, a schedule is given
            and no ``kl_weight``, or ``analytic`` sites are in another order.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro_deepgen.infer import KLWarmup, fit
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     slope = pyro.param("slope", torch.tensor(0.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(slope * x, 0.7))
        >>> elbo = BetaELBO(KLWarmup(100), num_particles=8)
        >>> result = fit(
        ...     model, guide, 300, args=(torch.linspace(-2.0, 2.0, 9),), loss=elbo,
        ...     learning_rate=0.05, progress=False,
        ... )
        >>> abs(result.params["slope"].item() - 0.5) < 0.1
        True

    References:
        Higgins et al. (2017), beta-VAE, eq. 4; Kingma et al. (2016), Inverse autoregressive flow,
        appendix C.8 (free bits).
    """

    def __init__(
        self,
        beta: float | Callable = 1.0,
        num_particles: int = 1,
        chunk: int | None = None,
        free_bits: float | dict = 0.0,
        groups: dict | None = None,
        analytic: bool = False,
    ):
        super().__init__("beta", beta, num_particles, chunk)
        self.beta = self._weight
        self.divergence = Divergence(free_bits, groups)
        self.analytic = bool(analytic)

    @property
    def evaluation(self) -> "BetaELBO":
        """The bound itself: weight 1, nothing free."""
        return BetaELBO(1.0, self.num_particles, self.chunk, analytic=self.analytic)

    def bound(self, program: Program, weight: float = 1.0) -> Tensor:
        """The objective at a weight of the divergence."""
        floors: list = []

        def terms(pair: TracePair, particles: int | None) -> dict[str, Tensor]:
            return self._terms(pair, particles, floors)

        found = program.particles(terms)
        divergences = found["divergences"].mean(0)
        # the mean before the maximum: Kingma et al. 2016, appendix C.8
        floor = torch.stack([torch.as_tensor(f).to(divergences) for f in floors])
        return found["rest"].mean() - weight * torch.maximum(divergences, floor).sum()

    def _terms(self, pair: TracePair, particles: int | None, floors: list) -> dict[str, Tensor]:
        def total(site: Site) -> Tensor:
            return site.scale * per_element(site.log_prob, (), particles)

        check_reparameterized(pair, "BetaELBO")
        groups = self.divergence.members(pair)
        floors[:] = [self.divergence.floor(pair, name, sites) for name, sites in groups.items()]
        if self.analytic:
            check_order(pair)

        def divergence(name: str) -> Tensor:
            site = pair.guide[name]
            if name not in pair.model:
                return total(site)
            closed = closed_divergence(pair, name) if self.analytic else None
            if closed is None:
                return total(site) - total(pair.model[name])
            return site.scale * per_element(closed, (), particles)

        divergences = [sum(divergence(name) for name in sites) for sites in groups.values()]
        rest = sum(total(site) for site in pair.model.values() if site.observed)
        given = [total(site) for site in pair.guide.values() if site.observed]
        rest = torch.as_tensor(rest - sum(given)).to(divergences[0]).expand_as(divergences[0])
        return {"rest": rest, "divergences": torch.stack(divergences, -1)}
