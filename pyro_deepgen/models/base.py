"""Model-guide pairs: a data plate, networks registered by name, and what a trained pair is for."""

import re
from abc import abstractmethod
from collections.abc import Callable

import pyro
import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor, nn

from .._numerics.checks import check_choice, check_positive_int
from .paths import interpolated, unit_grid

__all__ = ["ModelGuidePair", "call_with_context", "data_plate", "mean_of"]


class ModelGuidePair(nn.Module):
    """A model with local latent variables, its guide, and what both are used for.

    ``SVI(pair.model, pair.guide, optim, ELBO())`` trains it in place, or ``fit(pair.model,
    pair.guide, num_steps, args=(x,), kwargs={"size": len(x)}, batch_size=100)``. Minibatches are
    arrays with ``size=`` for the number of all data.

    Args:
        name: prefix of the names of the parameters, default the class name in snake case.

    Attributes:
        model_parts: names of the networks that the model uses.
        guide_parts: names of those that the guide uses.
    """

    model_parts: tuple[str, ...] = ()
    guide_parts: tuple[str, ...] = ()

    def __init__(self, name: str | None = None):
        super().__init__()
        self.name = snake_case(type(self).__name__) if name is None else name

    @abstractmethod
    def model(
        self, x: Tensor | None = None, context: Tensor | None = None, *, size: int | None = None
    ) -> Tensor:
        """Draw latent variables from the prior and data from the likelihood.

        Args:
            x: data, shape ``(B,) + event_shape``, or None to draw them.
            context: shape ``(B, context_dim)``, or None.
            size: number of all data if these are a minibatch; of data to draw without ``x``.
        """

    @abstractmethod
    def guide(self, x: Tensor, context: Tensor | None = None, *, size: int | None = None) -> Tensor:
        """Draw latent variables from the posterior of data; arguments as of :meth:`model`."""

    @abstractmethod
    def prior(self, context: Tensor | None = None) -> Distribution:
        """The prior of the highest latent variable."""

    @abstractmethod
    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """The posterior of the lowest latent variable, of batch shape ``(B,)``."""

    @abstractmethod
    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """The distribution of data given the lowest latent variable, any leading dimensions."""

    def bind(self, *parts: str) -> "ModelGuidePair":
        """Register the networks of these names with the host, and return the pair that uses them.

        It is called at the start of a model or guide.
        """
        for part in parts:
            pyro.module(f"{self.name}.{part}", getattr(self, part))
        return self

    @torch.no_grad()
    def sample(
        self, num_samples: int, context: Tensor | None = None, *, mean: bool = False
    ) -> Tensor:
        """Draw data.

        Args:
            num_samples: number of data.
            context: shape ``(context_dim,)`` or ``(num_samples, context_dim)``, or None.
            mean: whether to return the means of the likelihood rather than draws.

        Returns:
            Shape ``(num_samples,) + event_shape``.
        """
        num_samples = check_positive_int("num_samples", num_samples)
        if context is not None:
            context = context.expand(num_samples, context.shape[-1])
        z = self.prior(context).expand((num_samples,)).sample()
        return self.decode_prior(z, context, mean=mean)

    @torch.no_grad()
    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the posteriors' means, or draws where a posterior has no mean."""
        posterior = self.posterior(x, context)
        mean = mean_of(posterior)
        return posterior.sample() if mean is None else mean

    @torch.no_grad()
    def decode(self, z: Tensor, context: Tensor | None = None, *, mean: bool = True) -> Tensor:
        """Return the likelihood's means given latent variables, or draws.

        They are draws, whatever is asked for, where a likelihood has no mean: an autoregressive
        one.
        """
        likelihood = self.likelihood(z, context)
        found = mean_of(likelihood) if mean else None
        return likelihood.sample() if found is None else found

    def decode_prior(
        self, z: Tensor, context: Tensor | None = None, *, mean: bool = True
    ) -> Tensor:
        """Return data given the highest latent variable, which may be the only one."""
        return self.decode(z, context, mean=mean)

    def reconstruct(self, x: Tensor, context: Tensor | None = None, *, mean: bool = True) -> Tensor:
        """Return the likelihood's means, or draws, given what :meth:`encode` makes of the data."""
        return self.decode(self.encode(x, context), context, mean=mean)

    @torch.no_grad()
    def interpolate(
        self,
        x0: Tensor,
        x1: Tensor,
        num_steps: int = 10,
        kind: str = "spherical",
        context: Tensor | None = None,
    ) -> Tensor:
        """Return the likelihood's means on the way between two data, or batches of them.

        Args:
            x0: where the way begins, shape ``batch_shape + event_shape``.
            x1: where it ends, the same shape.
            num_steps: number of points, both ends included, at least 2.
            kind: ``'spherical'``, at constant angular speed as draws of a normal prior lie, or
                ``'linear'``.
            context: shape ``batch_shape + (context_dim,)``, or None.

        Returns:
            Shape ``(num_steps,) + batch_shape + event_shape``.
        """
        num_steps = check_positive_int("num_steps", num_steps, minimum=2)
        check_choice("kind", kind, ("spherical", "linear"))
        z0, z1 = self.encode(x0, context), self.encode(x1, context)
        event_dim = len(self.posterior(x0, context).event_shape)
        return self.decode(interpolated(z0, z1, num_steps, kind, event_dim), context)

    @torch.no_grad()
    def manifold(self, num_per_axis: int = 10, context: Tensor | None = None) -> Tensor:
        """Return the likelihood's means on a grid of quantiles of a prior of two dimensions.

        Args:
            num_per_axis: number ``n`` of points along each axis.
            context: shape ``(context_dim,)``, or None.

        Returns:
            Shape ``(n, n) + event_shape``: the first latent variable grows along the first
            dimension.

        Raises:
            ValueError: if the prior is no product of two distributions with quantiles.
        """
        grid = unit_grid(check_positive_int("num_per_axis", num_per_axis))
        prior = self.prior(context)
        z = quantiles_of(prior, grid) if tuple(prior.event_shape) == (2,) else None
        if z is None:
            raise ValueError(
                "prior must be a product of two distributions with quantiles for a grid of them, "
                f"got {type(prior).__name__} of event shape {tuple(prior.event_shape)}; use a "
                "standard normal prior of a latent_dim of 2, or interpolate."
            )
        return self.decode_prior(z, context)


def call_with_context(module: Callable, inputs: Tensor, context: Tensor | None) -> Distribution:
    """Call a network with the context where there is one."""
    return module(inputs) if context is None else module(inputs, context)


def data_plate(x: Tensor | None, context: Tensor | None, size: int | None) -> pyro.plate:
    """The plate of the rows of ``x``, else of the context, else of ``size`` data.

    Raises:
        ValueError: if there is neither, or ``size`` is less than the number of rows.
    """
    rows = x if x is not None else context
    if rows is None and size is None:
        raise ValueError("size must be given without x, got None; pass the number of data to draw.")
    count = size if rows is None else len(rows)
    if size is None or size == count:
        return pyro.plate("data", count, dim=-1)
    if size < count:
        raise ValueError(
            f"size must be at least the {count} rows given, got {size}; pass the number of all "
            "data."
        )
    index = torch.arange(count, device=rows.device)
    return pyro.plate("data", size, subsample=index, dim=-1)


def mean_of(d: Distribution) -> Tensor | None:
    """The mean of a distribution, of a class index its expectation, or None if there is none."""
    inner = d
    while isinstance(inner, dist.Independent):
        inner = inner.base_dist
    if isinstance(inner, torch.distributions.Categorical):
        probs = inner.probs
        return (probs * torch.arange(probs.shape[-1], device=probs.device)).sum(-1)
    try:
        return d.mean
    except NotImplementedError:
        return None


def quantiles_of(d: Distribution, levels) -> Tensor | None:
    """The quantiles of a product of distributions at these levels, or None if there are none."""
    base = d.base_dist if isinstance(d, dist.Independent) else d
    try:
        return base.icdf(torch.as_tensor(levels).to(d.mean))
    except NotImplementedError:
        return None


def snake_case(name: str) -> str:
    """``'LadderVAE'`` as ``'ladder_vae'``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
