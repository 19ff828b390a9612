"""The evidence lower bound of a tempered model."""

from collections.abc import Callable

from torch import Tensor

from ..._numerics.checks import check_positive
from .particles import Program, check_reparameterized, log_densities_of
from .scheduled import ScheduledELBO
from .sites import TracePair

__all__ = ["TemperedELBO"]


class TemperedELBO(ScheduledELBO):
    r"""The evidence lower bound of a model whose joint density is raised to a power.

    .. math::
        L_\beta = \mathbb E_q \left[ \beta \log p(x, z) - \log q(z) \right]

    A small inverse temperature :math:`\beta` flattens the way between modes, so that a guide that
    can hold several of them spreads over all before they part; at 1 it is the bound. Unlike
    :class:`BetaELBO` it tempers the prior with the likelihood. Evaluations are at 1: that of
    Pyro's ``loss``, that of :attr:`evaluation`, and every evaluation of ``fit``.

    Args:
        beta: the inverse temperature :math:`\beta`, positive, or a schedule of it that begins
            above 0: :class:`KLWarmup`, :class:`KLCycle` or a function of the step with
            ``num_steps``, from which it stays. ``fit`` follows a schedule, and refuses to end
            before it does. With the host's ``SVI``, pass ``kl_weight=schedule(step)`` to each
            step; it overrides ``beta``.
        num_particles: number of draws to average over.
        chunk: number of particles whose computations are held in memory, None for all.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. In use: if sites do not match, one cannot be
            reparameterised, or a schedule is given and no ``kl_weight``.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro_deepgen.infer import KLWarmup, fit
        >>> def model():
        ...     pyro.sample("z", dist.Normal(2.0, 0.5))
        >>> def guide():
        ...     loc, log_scale = (pyro.param(name, torch.tensor(0.0)) for name in ("loc", "log"))
        ...     pyro.sample("z", dist.Normal(loc, log_scale.exp()))
        >>> elbo = TemperedELBO(KLWarmup(100, start=0.1), num_particles=8)
        >>> options = {"learning_rate": 0.05, "keep": "last", "progress": False}
        >>> result = fit(model, guide, 300, loss=elbo, **options)
        >>> abs(result.params["loc"].item() - 2.0) < 0.1
        True

    References:
        Katahira, Watanabe & Okada (2008), Deterministic annealing variant of variational Bayes
        method; Mandt, McInerney, Abrol, Ranganath & Blei (2016), Variational tempering, section 3
        (of a flow: Rezende & Mohamed 2015, eq. 20).
    """

    def __init__(
        self,
        beta: float | Callable = 1.0,
        num_particles: int = 1,
        chunk: int | None = None,
    ):
        super().__init__("beta", beta, num_particles, chunk)
        check_positive("beta", self.schedule(0) if self.schedule else beta)
        self.beta = self._weight

    @property
    def evaluation(self) -> "TemperedELBO":
        """The bound itself: temperature 1."""
        return TemperedELBO(1.0, self.num_particles, self.chunk)

    def bound(self, program: Program, weight: float = 1.0) -> Tensor:
        """The objective at an inverse temperature."""
        found = program.particles(_terms)
        return (weight * found["model"] - found["guide"]).mean()


def _terms(pair: TracePair, particles: int | None) -> dict[str, Tensor]:
    check_reparameterized(pair, "TemperedELBO")
    model, guide = log_densities_of(pair, None, particles)
    return {"model": model, "guide": guide}
