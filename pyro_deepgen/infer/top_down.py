"""Guides that are handlers over the generator: model and guide in one run."""

from collections.abc import Callable

import torch
from pyro.distributions import Distribution
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

__all__ = ["AtValue", "TopDown", "check_fresh"]


class TopDown(GuideMessenger):
    r"""A guide that runs the model, and draws each latent site from a posterior instead.

    .. math:: q(z \mid x) = \prod_l q(z_l \mid z_{>l}, x)

    Each posterior is made of the site's prior, of what the model hands over with the site as
    ``infer={"state": ...}``, and of what is computed of the data once. Every bound of this package
    and of the host, but enumeration, takes model and guide from the one run. Handlers go around
    the guide; those around the model alone have no effect then.

    Args:
        model: model of the host.
        posteriors: function of the model's arguments that returns a function of a site's name,
            prior and state, which returns the posterior, or None to draw from the prior.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro_deepgen.infer import BetaELBO
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> guide = TopDown(model, lambda x: lambda *site: dist.Normal(x / 2, 0.7))
        >>> with torch.random.fork_rng():
        ...     BetaELBO(analytic=True).loss(model, guide, torch.zeros(1)) > 0
        True

    References:
        Soenderby et al. 2016, Ladder variational autoencoders; Kingma et al. 2016, Improved
        variational inference with inverse autoregressive flow, section 4.
    """

    def __init__(self, model: Callable, posteriors: Callable):
        super().__init__(model)
        self._posteriors = (posteriors,)

    def __call__(self, *args, **kwargs) -> dict[str, Tensor]:
        """Draw the latent sites; returns the values of all sites by name."""
        self._posterior = self._posteriors[0](*args, **kwargs)
        try:
            return super().__call__(*args, **kwargs)
        finally:
            del self._posterior

    def _pyro_sample(self, msg) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        prior = msg["fn"]
        msg["infer"]["prior"] = prior
        found = self._posterior(msg["name"], prior, msg["infer"].pop("state", None))
        posterior = prior if found is None else found
        if posterior.batch_shape != prior.batch_shape:
            shape = torch.broadcast_shapes(posterior.batch_shape, prior.batch_shape)
            posterior = posterior.expand(shape)
        msg["fn"] = posterior

    def get_posterior(self, name: str, prior: Distribution) -> Distribution:
        """The posterior of a site without a state."""
        return self._posterior(name, prior, None)

    def __getstate__(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "trace"}


def check_fresh(name: str, fn: Distribution) -> None:
    """Raise for a site whose value was drawn before, in a gradient at given draws."""
    if isinstance(fn, AtValue):
        raise ValueError(
            f"gradient must be 'plain' for a guide that draws from the bottom up first, got site "
            f"{name!r} drawn before; pass gradient='plain'."
        )


class AtValue(TorchDistribution):
    """A distribution that was drawn from before: its density, and the one value.

    Args:
        base_dist: the distribution.
        value: what was drawn, of shape ``batch_shape + event_shape`` or broader.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> AtValue(dist.Normal(0.0, 1.0), torch.tensor(0.5)).rsample()
        tensor(0.5000)
    """

    arg_constraints: dict = {}

    def __init__(self, base_dist: Distribution, value: Tensor):
        batch_shape = value.shape[: value.dim() - base_dist.event_dim]
        self.base_dist, self.value = base_dist.expand(batch_shape), value
        super().__init__(batch_shape, base_dist.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        return self.base_dist.has_rsample

    @property
    def support(self):
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    def expand(self, batch_shape, _instance=None) -> "AtValue":
        return AtValue(self.base_dist, self.value.expand(batch_shape + self.event_shape))

    def rsample(self, sample_shape=()) -> Tensor:
        return self.value.expand(torch.Size(sample_shape) + self.value.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base_dist.log_prob(value)
