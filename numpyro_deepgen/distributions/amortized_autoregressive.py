"""An autoregressive distribution whose context is what a network makes of the inputs."""

from collections.abc import Callable

import equinox as eqx
from jax import Array

from .amortized_flow import check_takes_context
from .autoregressive import Autoregressive, AutoregressiveDistribution

__all__ = ["AmortizedAutoregressive"]


class AmortizedAutoregressive(eqx.Module):
    r"""A network of the inputs, and an autoregressive network that takes its features as context.

    .. math:: p(x \mid z) = \prod_t p\big(x_{o(t)} \mid x_{o(0)}, \ldots, x_{o(t-1)}, h(z)\big)

    A decoder of latent variables, say, that leaves what is near by to the other elements.

    Args:
        network: module that maps the inputs, and the context if there is one, to
            ``batch_shape + density.network.context_shape``: a vector or an image of features.
        density: an autoregressive network with a context.

    Raises:
        ValueError: if ``density`` takes no context.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions import pixel_cnn
        >>> from numpyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> from numpyro_deepgen.nn import ImageDecoder
        >>> key = jax.random.key(0)
        >>> density = pixel_cnn(
        ...     key, (8, 8), BernoulliConditional(), 4, 2, context_dim=3, context_kind="image"
        ... )
        >>> decoder = AmortizedAutoregressive(ImageDecoder(key, 2, (3, 8, 8), (4,)), density)
        >>> decoder(jnp.zeros((5, 2))).batch_shape
        (5,)

    References:
        Gulrajani et al. 2017, PixelVAE: A latent variable model for natural images, section 3.
    """

    network: Callable
    density: Autoregressive

    def __init__(self, network: Callable, density: Autoregressive):
        check_takes_context(density, "density")
        self.network, self.density = network, density

    def features(self, inputs: Array, context: Array | None = None) -> Array:
        """What the network makes of the inputs."""
        return self.network(inputs) if context is None else self.network(inputs, context)

    def distribution(
        self, features: Array, keep: Array | None = None, rng_key: Array | None = None
    ) -> AutoregressiveDistribution:
        """The distribution with these features; the rest as of :class:`Autoregressive`."""
        return self.density(features, keep=keep, rng_key=rng_key)

    def __call__(self, inputs: Array, context: Array | None = None) -> AutoregressiveDistribution:
        return self.distribution(self.features(inputs, context))
