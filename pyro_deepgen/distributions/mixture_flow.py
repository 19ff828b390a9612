"""Mixtures of flows."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import Categorical, TorchDistribution, constraints
from torch import Tensor, nn

from .._numerics.checks import check_context_shape, check_event_shape
from ..nn import ConditionalParameters
from .flow import Flow
from .transforms._host import without_graph
from .transforms._sequence import context_for

__all__ = ["MixtureFlow", "MixtureFlowDistribution"]


class MixtureFlow(nn.Module):
    r"""A mixture of flows, :math:`p(x | c) = \sum_k \pi_k(c) \, p_k(x | c)`, with learned weights.

    The density is exact. Samples are not reparameterised.

    Args:
        flows: at least one :class:`Flow`; equal ``input_dim`` and support, and a ``context_dim`` of
            0 or one common value.
        hidden_dims: hidden widths of the network of the weights, where there is a context.
        activation: its activation.

    Raises:
        ValueError: if the dimensions differ or the list is empty.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions import nsf
        >>> mixture = MixtureFlow([nsf(2, context_dim=3) for _ in range(4)])
        >>> mixture(torch.zeros(5, 3)).sample((7,)).shape
        torch.Size([7, 5, 2])
    """

    def __init__(
        self,
        flows: Sequence[Flow],
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__()
        flows = list(flows)
        input_dims = {flow.input_dim for flow in flows}
        context_dims = {flow.context_dim for flow in flows} - {0}
        if len(input_dims) != 1 or len(context_dims) > 1:
            raise ValueError(
                f"flows must be at least one, of one input_dim and one context_dim (or none), got "
                f"{sorted(input_dims)} and {sorted(context_dims)}; build them alike."
            )
        self.input_dim = input_dims.pop()
        self.context_dim = context_dims.pop() if context_dims else 0
        self.flows = nn.ModuleList(flows)
        self.logits = ConditionalParameters(len(flows), self.context_dim, hidden_dims, activation)

    def forward(self, context: Tensor | None = None) -> "MixtureFlowDistribution":
        """Return the distribution given a context of shape ``batch_shape + (context_dim,)``.

        Raises:
            ValueError: if the context does not fit ``context_dim``.
        """
        check_context_shape(None if context is None else context.shape, self.context_dim)
        components = [flow(context_for(flow, context)) for flow in self.flows]
        return MixtureFlowDistribution(self.logits(context), components)


class MixtureFlowDistribution(TorchDistribution):
    r"""A finite mixture of distributions of any kinds with event shape ``(D,)`` and one support.

    Args:
        logits: unnormalised log-weights, shape ``batch_shape + (K,)``.
        components: ``K`` distributions of batch shapes broadcastable to ``batch_shape``.
        validate_args: whether values are checked against the support.

    Raises:
        ValueError: if the supports differ.
    """

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(
        self,
        logits: Tensor,
        components: Sequence[TorchDistribution],
        validate_args: bool | None = None,
    ):
        supports = {str(component.support) for component in components}
        if len(supports) > 1:
            raise ValueError(
                f"components must have one support, got {', '.join(sorted(supports))}; end all "
                "flows with the same transform."
            )
        shapes = [component.batch_shape for component in components]
        batch_shape = torch.broadcast_shapes(logits.shape[:-1], *shapes)
        self.logits = logits.expand(batch_shape + logits.shape[-1:])
        self.components = [component.expand(batch_shape) for component in components]
        event_shape = components[0].event_shape
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        return self.components[0].support

    def expand(self, batch_shape, _instance=None) -> "MixtureFlowDistribution":
        batch_shape = torch.Size(batch_shape)
        return MixtureFlowDistribution(
            self.logits.expand(batch_shape + self.logits.shape[-1:]),
            [component.expand(batch_shape) for component in self.components],
            validate_args=self._validate_args,
        )

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            sample_shape = torch.Size(sample_shape)
            chosen = Categorical(logits=self.logits).sample(sample_shape)
            draws = torch.stack([c.sample(sample_shape) for c in self.components], -2)
            index = chosen[..., None, None].expand(chosen.shape + (1,) + self.event_shape)
            return draws.gather(-2, index).squeeze(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        check_event_shape("value", value.shape, self.event_shape[0])
        if self._validate_args:
            self._validate_sample(value)
        terms = torch.stack([component.log_prob(value) for component in self.components], -1)
        return (terms + self.logits.log_softmax(-1)).logsumexp(-1)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "logits": without_graph(self.logits)}
