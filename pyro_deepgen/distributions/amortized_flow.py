"""A flow whose context is what a network makes of the inputs."""

from collections.abc import Callable

from torch import Tensor, nn

from .flow import Flow, FlowDistribution

__all__ = ["AmortizedFlow"]


class AmortizedFlow(nn.Module):
    r"""A network of the inputs, and a flow that takes what it gives as its context.

    .. math:: q(z \mid x) = T_{h(x)} \# p_0

    Flows that take the context into all their parameters are amortised by it: planar, radial and
    Sylvester flows, couplings and autoregressive flows as of the recipes.

    Args:
        network: module that maps the inputs, and the context if there is one, to
            ``batch_shape + (flow.context_dim,)``.
        flow: a flow with a ``context_dim``.

    Raises:
        ValueError: if the flow takes no context.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions import planar
        >>> from pyro_deepgen.nn import Dense
        >>> encoder = AmortizedFlow(Dense(64, 16), planar(3, 4, (), context_dim=16))
        >>> encoder(torch.zeros(5, 64)).batch_shape
        torch.Size([5])

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, section 4.2; Kingma et
        al. 2016, Improved variational inference with inverse autoregressive flow; van den Berg et
        al. 2018, Sylvester Normalizing Flows for Variational Inference, section 4.
    """

    def __init__(self, network: Callable, flow: Flow):
        super().__init__()
        check_takes_context(flow)
        self.network, self.flow = network, flow

    def features(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """What the network makes of the inputs."""
        return self.network(inputs) if context is None else self.network(inputs, context)

    def distribution(self, features: Tensor) -> FlowDistribution:
        """The distribution with these features."""
        return self.flow(features)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> FlowDistribution:
        return self.distribution(self.features(inputs, context))


def check_takes_context(module: Callable, name: str = "flow") -> None:
    """Raise unless what is called with features takes a context."""
    if not getattr(module, "context_dim", 0):
        raise ValueError(
            f"{name} must take a context, got one with context_dim=0; build it with context_dim= "
            "the number of features."
        )
