"""An autoregressive distribution whose context is what a network makes of the inputs."""

from collections.abc import Callable

from torch import Tensor, nn

from .amortized_flow import check_takes_context
from .autoregressive import Autoregressive, AutoregressiveDistribution

__all__ = ["AmortizedAutoregressive"]


class AmortizedAutoregressive(nn.Module):
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
        >>> import torch
        >>> from pyro_deepgen.distributions import pixel_cnn
        >>> from pyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> from pyro_deepgen.nn import ImageDecoder
        >>> density = pixel_cnn(
        ...     (8, 8), BernoulliConditional(), 4, 2, context_dim=3, context_kind="image"
        ... )
        >>> decoder = AmortizedAutoregressive(ImageDecoder(2, (3, 8, 8), (4,)), density)
        >>> decoder(torch.zeros(5, 2)).batch_shape
        torch.Size([5])

    References:
        Gulrajani et al. 2017, PixelVAE: A latent variable model for natural images, section 3.
    """

    def __init__(self, network: Callable, density: Autoregressive):
        super().__init__()
        check_takes_context(density, "density")
        self.network, self.density = network, density

    def features(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """What the network makes of the inputs."""
        return self.network(inputs) if context is None else self.network(inputs, context)

    def distribution(
        self, features: Tensor, keep: Tensor | None = None
    ) -> AutoregressiveDistribution:
        """The distribution with these features; ``keep`` as of :class:`Autoregressive`."""
        return self.density(features, keep=keep)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> AutoregressiveDistribution:
        return self.distribution(self.features(inputs, context))
