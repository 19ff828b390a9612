"""Model-guide pairs: a data plate, networks registered by name, and what a trained pair is for."""

import re
from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro import distributions as dist
from numpyro.contrib.module import eqx_module
from numpyro.distributions import Distribution
from numpyro.distributions.discrete import CategoricalLogits, CategoricalProbs

from .._numerics.checks import check_choice, check_positive_int
from .paths import interpolated, unit_grid

__all__ = ["ModelGuidePair", "call_with_context", "data_plate", "mean_of", "needed", "snake_case"]


class ModelGuidePair(eqx.Module):
    """A model with local latent variables, its guide, and what both are used for.

    ``SVI(pair.model, pair.guide, optim, ELBO())`` trains it, or ``fit(rng_key, pair.model,
    pair.guide, num_steps, args=(x,), kwargs={"size": len(x)}, batch_size=100)``; then
    ``pair.with_params(params)`` is the trained pair. Minibatches are arrays with ``size=`` for the
    number of all data.

    Args:
        name: prefix of the names of the parameters, default the class name in snake case.

    Attributes:
        model_parts: names of the networks that the model uses.
        guide_parts: names of those that the guide uses.
    """

    name: str = eqx.field(static=True)

    def __init__(self, name: str | None = None):
        self.name = snake_case(type(self).__name__) if name is None else name

    @property
    def model_parts(self) -> tuple[str, ...]:
        """Names of the networks that the model uses."""
        return ()

    @property
    def guide_parts(self) -> tuple[str, ...]:
        """Names of the networks that the guide uses."""
        return ()

    @abstractmethod
    def model(
        self, x: Array | None = None, context: Array | None = None, *, size: int | None = None
    ) -> Array:
        """Draw latent variables from the prior and data from the likelihood.

        Args:
            x: data, shape ``(B,) + event_shape``, or None to draw them.
            context: shape ``(B, context_dim)``, or None.
            size: number of all data if these are a minibatch; of data to draw without ``x``.
        """

    @abstractmethod
    def guide(self, x: Array, context: Array | None = None, *, size: int | None = None) -> Array:
        """Draw latent variables from the posterior of data; arguments as of :meth:`model`."""

    @abstractmethod
    def prior(self, context: Array | None = None) -> Distribution:
        """The prior of the highest latent variable."""

    @abstractmethod
    def posterior(self, x: Array, context: Array | None = None) -> Distribution:
        """The posterior of the lowest latent variable, of batch shape ``(B,)``."""

    @abstractmethod
    def likelihood(self, z: Array, context: Array | None = None) -> Distribution:
        """The distribution of data given the lowest latent variable, any leading dimensions."""

    def bind(self, *parts: str) -> "ModelGuidePair":
        """Register the networks of these names with the host, and return the pair that uses them.

        It is called at the start of a model or guide.
        """
        parts = [part for part in parts if _has_arrays(getattr(self, part))]
        modules = [eqx_module(f"{self.name}.{part}", getattr(self, part)) for part in parts]
        return self._replaced(parts, modules)

    def with_params(self, params: dict) -> "ModelGuidePair":
        """Return the pair with trained arrays.

        Args:
            params: parameters by name, from ``SVI.get_params`` or ``FitResult.params``.

        Raises:
            ValueError: if none of them is the pair's.
        """
        names = dict.fromkeys((*self.model_parts, *self.guide_parts))
        parts = [part for part in names if f"{self.name}.{part}$params" in params]
        if not parts:
            raise ValueError(
                f"params must hold arrays of {self.name!r}, got {sorted(params)}; pass those of "
                "its own training."
            )
        trained = [params[f"{self.name}.{part}$params"] for part in parts]
        pairs = zip(trained, parts, strict=True)
        return self._replaced(parts, [eqx.combine(new, getattr(self, part)) for new, part in pairs])

    def _replaced(self, parts: list[str], modules: list) -> "ModelGuidePair":
        if not parts:
            return self
        return eqx.tree_at(lambda pair: [getattr(pair, part) for part in parts], self, modules)

    def sample(
        self,
        rng_key: Array,
        num_samples: int,
        context: Array | None = None,
        *,
        mean: bool = False,
    ) -> Array:
        """Draw data.

        Args:
            rng_key: random key.
            num_samples: number of data.
            context: shape ``(context_dim,)`` or ``(num_samples, context_dim)``, or None.
            mean: whether to return the means of the likelihood rather than draws.

        Returns:
            Shape ``(num_samples,) + event_shape``.
        """
        num_samples = check_positive_int("num_samples", num_samples)
        if context is not None:
            context = jnp.broadcast_to(context, (num_samples, jnp.shape(context)[-1]))
        latent_key, data_key = jax.random.split(rng_key)
        z = self.prior(context).expand((num_samples,)).sample(latent_key)
        return self.decode_prior(z, context, mean=mean, rng_key=data_key)

    def encode(
        self, x: Array, context: Array | None = None, *, rng_key: Array | None = None
    ) -> Array:
        """Return the posteriors' means, or draws where a posterior has no mean.

        Raises:
            ValueError: if a draw is needed and there is no ``rng_key``.
        """
        posterior = self.posterior(x, context)
        mean = mean_of(posterior)
        return posterior.sample(needed(rng_key)) if mean is None else mean

    def decode(
        self,
        z: Array,
        context: Array | None = None,
        *,
        mean: bool = True,
        rng_key: Array | None = None,
    ) -> Array:
        """Return the likelihood's means given latent variables, or draws.

        They are draws, whatever is asked for, where a likelihood has no mean: an autoregressive
        one.

        Raises:
            ValueError: if a draw is needed and there is no ``rng_key``.
        """
        likelihood = self.likelihood(z, context)
        found = mean_of(likelihood) if mean else None
        return likelihood.sample(needed(rng_key)) if found is None else found

    def decode_prior(
        self,
        z: Array,
        context: Array | None = None,
        *,
        mean: bool = True,
        rng_key: Array | None = None,
    ) -> Array:
        """Return data given the highest latent variable, which may be the only one."""
        return self.decode(z, context, mean=mean, rng_key=rng_key)

    def reconstruct(
        self,
        x: Array,
        context: Array | None = None,
        *,
        mean: bool = True,
        rng_key: Array | None = None,
    ) -> Array:
        """Return the likelihood's means, or draws, given what :meth:`encode` makes of the data."""
        keys = (None, None) if rng_key is None else jax.random.split(rng_key)
        z = self.encode(x, context, rng_key=keys[0])
        return self.decode(z, context, mean=mean, rng_key=keys[1])

    def interpolate(
        self,
        x0: Array,
        x1: Array,
        num_steps: int = 10,
        kind: str = "spherical",
        context: Array | None = None,
        *,
        rng_key: Array | None = None,
    ) -> Array:
        """Return the likelihood's means on the way between two data, or batches of them.

        Args:
            x0: where the way begins, shape ``batch_shape + event_shape``.
            x1: where it ends, the same shape.
            num_steps: number of points, both ends included, at least 2.
            kind: ``'spherical'``, at constant angular speed as draws of a normal prior lie, or
                ``'linear'``.
            context: shape ``batch_shape + (context_dim,)``, or None.
            rng_key: random key where a posterior or the likelihood has no mean.

        Returns:
            Shape ``(num_steps,) + batch_shape + event_shape``.
        """
        num_steps = check_positive_int("num_steps", num_steps, minimum=2)
        check_choice("kind", kind, ("spherical", "linear"))
        keys = (None, None, None) if rng_key is None else jax.random.split(rng_key, 3)
        z0, z1 = (
            self.encode(x, context, rng_key=key) for x, key in zip((x0, x1), keys[:2], strict=True)
        )
        event_dim = len(self.posterior(x0, context).event_shape)
        z = interpolated(z0, z1, num_steps, kind, event_dim)
        return self.decode(z, context, rng_key=keys[2])

    def manifold(
        self,
        num_per_axis: int = 10,
        context: Array | None = None,
        *,
        rng_key: Array | None = None,
    ) -> Array:
        """Return the likelihood's means on a grid of quantiles of a prior of two dimensions.

        Args:
            num_per_axis: number ``n`` of points along each axis.
            context: shape ``(context_dim,)``, or None.
            rng_key: random key where the likelihood has no mean.

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
        return self.decode_prior(z, context, rng_key=rng_key)


def call_with_context(module: Callable, inputs: Array, context: Array | None) -> Distribution:
    """Call a network with the context where there is one."""
    return module(inputs) if context is None else module(inputs, context)


def data_plate(x: Array | None, context: Array | None, size: int | None) -> numpyro.plate:
    """The plate of the rows of ``x``, else of the context, else of ``size`` data.

    Raises:
        ValueError: if there is neither, or ``size`` is less than the number of rows.
    """
    rows = x if x is not None else context
    if rows is None and size is None:
        raise ValueError("size must be given without x, got None; pass the number of data to draw.")
    count = size if rows is None else len(rows)
    if size is None or size == count:
        return numpyro.plate("data", count, dim=-1)
    if size < count:
        raise ValueError(
            f"size must be at least the {count} rows given, got {size}; pass the number of all "
            "data."
        )
    return numpyro.plate("data", size, subsample_size=count, dim=-1)


def mean_of(d: Distribution) -> Array | None:
    """The mean of a distribution, of a class index its expectation, or None if there is none."""
    inner = d
    while isinstance(inner, (dist.Independent, dist.ExpandedDistribution)):
        inner = inner.base_dist
    if isinstance(inner, (CategoricalLogits, CategoricalProbs)):
        probs = inner.probs
        return jnp.broadcast_to((probs * jnp.arange(probs.shape[-1])).sum(-1), d.shape())
    try:
        return d.mean
    except NotImplementedError:
        return None


def quantiles_of(d: Distribution, levels) -> Array | None:
    """The quantiles of a product of distributions at these levels, or None if there are none."""
    base = d.base_dist if isinstance(d, dist.Independent) else d
    try:
        return base.icdf(jnp.asarray(levels, d.mean.dtype))
    except NotImplementedError:
        return None


def snake_case(name: str) -> str:
    """``'LadderVAE'`` as ``'ladder_vae'``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _has_arrays(module) -> bool:
    return any(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(module))


def needed(rng_key: Array | None) -> Array:
    """The random key of a draw, or raise where there is none."""
    if rng_key is None:
        raise ValueError("rng_key must be given for a draw, got None; pass jax.random.key(0).")
    return rng_key
