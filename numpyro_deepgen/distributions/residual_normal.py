"""A normal distribution relative to another."""

import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Normal
from numpyro.distributions.kl import kl_divergence

__all__ = ["ResidualNormal"]


class ResidualNormal(Normal):
    r"""A normal posterior by its differences from a normal prior.

    .. math:: q = N(\mu + \Delta\mu,\ (\sigma\, \Delta\sigma)^2)
        \quad\text{beside}\quad p = N(\mu, \sigma^2)

    Its divergence from the prior itself depends on little but the differences,

    .. math:: \mathrm{KL}(q, p) = \tfrac12 \Big(\frac{\Delta\mu^2}{\sigma^2} + \Delta\sigma^2
        - \log \Delta\sigma^2 - 1\Big)

    Args:
        prior: the normal distribution :math:`p`.
        delta_loc: :math:`\Delta\mu`.
        delta_log_scale: :math:`\log \Delta\sigma`.

    Example:
        >>> import jax.numpy as jnp, numpyro.distributions as dist
        >>> prior = dist.Normal(jnp.array(3.0), jnp.array(2.0))
        >>> q = ResidualNormal(prior, jnp.array(2.0), jnp.array(0.0))
        >>> dist.kl_divergence(q, prior).item()
        0.5

    References:
        Vahdat & Kautz 2020, NVAE: a deep hierarchical variational autoencoder, eq. 2 and 3.
    """

    pytree_data_fields = ("prior", "delta_loc", "delta_log_scale")

    def __init__(self, prior: Normal, delta_loc: Array, delta_log_scale: Array):
        self.prior, self.delta_loc, self.delta_log_scale = prior, delta_loc, delta_log_scale
        scale = prior.scale * jnp.exp(delta_log_scale)
        super().__init__(prior.loc + delta_loc, scale, validate_args=False)

    def is_of(self, prior: Normal) -> bool:
        """Whether this is the prior it is relative to."""
        return self.prior.loc is prior.loc and self.prior.scale is prior.scale


@kl_divergence.register(ResidualNormal, Normal)
def _divergence(q: ResidualNormal, p: Normal) -> Array:
    if not q.is_of(p):
        return kl_divergence(Normal(q.loc, q.scale), p)
    # Vahdat & Kautz 2020, eq. 2
    variance = jnp.exp(2.0 * q.delta_log_scale)
    squared = (q.delta_loc / p.scale) ** 2
    return 0.5 * (squared + variance - 1.0) - q.delta_log_scale
