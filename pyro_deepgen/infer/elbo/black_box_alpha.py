"""Black-box alpha: a power for each datum although latent variables are shared."""

from torch import Tensor

from .base import ParticleELBO
from .particles import Program, check_reparameterized, per_element
from .settings import check_order
from .sites import TracePair, WeightPlan, split_at_data
from .weights import renyi_bound

__all__ = ["BlackBoxAlphaELBO"]


class BlackBoxAlphaELBO(ParticleELBO):
    r"""The black-box alpha energy of global latent variables, a power for each datum.

    .. math::
        L = -\mathrm{KL}(q(w) \,\|\, p(w)) + \frac NB \sum_{n=1}^B \frac1\alpha
            \log \frac1K \sum_{k=1}^K p(x_n \mid w_k)^\alpha

    Sites inside the data plate, the one around everything observed, make the power of each datum,
    latent ones as :math:`p(x_n, z_n \mid w) / q(z_n)`; those outside make the divergence. The
    limit 0 is the evidence lower bound; 1 covers more of the posterior. It is the form for many
    data of Hernandez-Lobato et al.'s energy, without their tilting of the guide.

    Args:
        alpha: power, any finite number; 0 for the limit.
        num_particles: number :math:`K` of draws of everything.
        chunk: number of particles whose computations are held in memory, None for all.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range. In use: if nothing observed is in a plate, sites
            do not match, sites of the plate have different scales, or a site cannot be
            reparameterised.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro.infer import SVI
        >>> def model(x):
        ...     loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("data", 100, subsample_size=20) as rows:
        ...         pyro.sample("x", dist.Normal(loc, 1.0), obs=x[rows])
        >>> def guide(x):
        ...     loc = pyro.param("q_loc", torch.tensor(0.0))
        ...     pyro.sample("loc", dist.Normal(loc, 0.1))
        >>> x = torch.linspace(1.0, 3.0, 100)
        >>> elbo = BlackBoxAlphaELBO(0.5, num_particles=10)
        >>> svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
        >>> losses = [svi.step(x) for _ in range(200)]
        >>> abs(pyro.param("q_loc").item() - 2.0) < 0.2
        True

    References:
        Hernandez-Lobato et al. (2016), Black-box alpha divergence minimization, eq. 10; Li & Gal
        (2017), Dropout inference in Bayesian neural networks with alpha-divergences, eq. 5.
    """

    def __init__(self, alpha: float, num_particles: int = 10, chunk: int | None = None):
        super().__init__(num_particles, chunk)
        self.alpha = check_order(alpha)

    def bound(self, program: Program) -> Tensor:
        """The negative energy."""
        plans: list[tuple[WeightPlan, set]] = []

        def terms(pair: TracePair, particles: int | None) -> dict[str, Tensor]:
            if not plans:
                plans.append(split_at_data(pair))
            return _terms(pair, *plans[0], particles)

        found = program.particles(terms)
        # Li & Gal 2017, eq. 5; the log mean power is a bound of order 1 - alpha
        data = plans[0][0].scale * renyi_bound(found["data"], 1.0 - self.alpha).sum()
        return found["shared"].mean() + data


def _terms(
    pair: TracePair, plan: WeightPlan, inside: set[str], particles: int | None
) -> dict[str, Tensor]:
    """Log ratio of each datum, and of what the data share."""
    check_reparameterized(pair, "BlackBoxAlphaELBO")
    data, shared = [], []
    for sign, sites in ((1.0, pair.model), (-1.0, pair.guide)):
        for site in sites.values():
            if site.name in inside:
                data.append(sign * per_element(site.log_prob, plan.plates, particles))
            else:
                shared.append(sign * site.scale * per_element(site.log_prob, (), particles))
    data = sum(data)
    count = data.shape[0] if particles is not None else None
    zero = data.new_zeros(() if count is None else (count,))
    return {"data": data, "shared": sum(shared, zero)}
