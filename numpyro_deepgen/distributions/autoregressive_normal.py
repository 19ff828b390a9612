"""Autoregressive normal sequences, as a prior that a posterior cannot meet."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from .._numerics.checks import check_positive, check_positive_int
from .._numerics.committed_rate import ar1_scale_tril, committed_rate, correlation_of_rate

__all__ = ["AutoregressiveNormal"]


class AutoregressiveNormal(eqx.Module):
    r"""A module whose call gives ``D`` independent stationary sequences of ``T`` normal variables.

    .. math:: z_1 \sim N(0, 1), \qquad z_t \mid z_{t-1} \sim N(\alpha z_{t-1}, 1 - \alpha^2)

    No distribution of independent normal variables is closer to it than the committed rate

    .. math::
        \delta = \frac{D}{2} \left( (T - 2) \log(1 + \alpha^2) - \log(1 - \alpha^2) \right),

    so that a posterior of that kind cannot collapse to it. Nothing is learned.

    Args:
        num_chains: number ``D`` of sequences.
        num_steps: length ``T``, at least 2.
        committed_rate: :math:`\delta` in nats, positive, from which follows :math:`\alpha`.

    Example:
        >>> AutoregressiveNormal(3, 8, committed_rate=2.0)().event_shape
        (3, 8)

    References:
        Razavi, van den Oord, Poole & Vinyals 2019, Preventing posterior collapse with delta-VAEs,
        section 2.2 and eq. 4.
    """

    context_dim: int = eqx.field(static=True)
    num_chains: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    correlation: float = eqx.field(static=True)

    def __init__(self, num_chains: int, num_steps: int, committed_rate: float):
        self.context_dim = 0
        self.num_chains = check_positive_int("num_chains", num_chains)
        self.num_steps = check_positive_int("num_steps", num_steps, minimum=2)
        rate = check_positive("committed_rate", committed_rate) / self.num_chains
        self.correlation = correlation_of_rate(rate, self.num_steps)

    @property
    def committed_rate(self) -> float:
        """The least divergence of independent normal variables, in nats."""
        return self.num_chains * committed_rate(self.correlation, self.num_steps)

    def __call__(self, context: Array | None = None) -> Distribution:
        scale_tril = jnp.asarray(ar1_scale_tril(self.correlation, self.num_steps), float)
        loc = jnp.zeros((self.num_chains, self.num_steps))
        return dist.MultivariateNormal(loc, scale_tril=scale_tril).to_event(1)
