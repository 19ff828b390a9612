"""A normal distribution relative to another."""

import torch
from pyro.distributions import Normal
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

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
        >>> import torch, pyro.distributions as dist
        >>> prior = dist.Normal(torch.tensor(3.0), torch.tensor(2.0))
        >>> q = ResidualNormal(prior, torch.tensor(2.0), torch.tensor(0.0))
        >>> torch.distributions.kl_divergence(q, prior).item()
        0.5

    References:
        Vahdat & Kautz 2020, NVAE: a deep hierarchical variational autoencoder, eq. 2 and 3.
    """

    def __init__(self, prior: Normal, delta_loc: Tensor, delta_log_scale: Tensor):
        self.prior, self.delta_loc, self.delta_log_scale = prior, delta_loc, delta_log_scale
        scale = prior.scale * delta_log_scale.exp()
        super().__init__(prior.loc + delta_loc, scale, validate_args=False)

    def expand(self, batch_shape, _instance=None) -> "ResidualNormal":
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        deltas = (self.delta_loc, self.delta_log_scale)
        return ResidualNormal(self.prior, *(d.expand(batch_shape) for d in deltas))

    def is_of(self, prior: Normal) -> bool:
        """Whether this is the prior it is relative to."""
        pairs = ((self.prior.loc, prior.loc), (self.prior.scale, prior.scale))
        return all(a is b or a.data_ptr() == b.data_ptr() for a, b in pairs)


@register_kl(ResidualNormal, Normal)
def _divergence(q: ResidualNormal, p: Normal) -> Tensor:
    if not q.is_of(p):
        return kl_divergence(Normal(q.loc, q.scale), p)
    # Vahdat & Kautz 2020, eq. 2
    variance = (2.0 * q.delta_log_scale).exp()
    squared = (q.delta_loc / p.scale) ** 2
    return 0.5 * (squared + variance - 1.0) - q.delta_log_scale
