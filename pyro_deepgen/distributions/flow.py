r"""Normalizing flows: a module whose call gives a host distribution.

.. math::
    x = T_n \circ \ldots \circ T_1 (z), \quad z \sim p_0, \qquad
    \log p(x) = \log p_0(z) - \sum_k \log |\det \partial T_k|.
"""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import Distribution, TorchDistribution, constraints
from torch import Tensor, nn

from .._numerics.checks import check_context_shape, check_event_shape
from ._validation import is_plainly_real
from .bases import as_base
from .transforms._host import without_graph
from .transforms._sequence import context_for
from .transforms.base import Transform, common_dims, held_tensors, tensor_versions

__all__ = ["Flow", "FlowDistribution"]


class Flow(nn.Module):
    r"""A base distribution pushed through learnable transforms.

    Args:
        base_dist: a host distribution with event shape ``(D,)`` and empty batch shape, which is
            moved with the module but not trained, or a module whose call (with the context, if it
            has a ``context_dim``) gives one, which is trained.
        transforms: :class:`~pyro_deepgen.distributions.transforms.Transform` objects, applied from
            first to last when sampling.

    Raises:
        ValueError: if the dimensions of base and transforms differ.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> from pyro_deepgen.distributions.transforms import Coupling, Flip
        >>> base = dist.Normal(torch.zeros(3), 1.0).to_event(1)
        >>> flow = Flow(base, [Coupling(3, context_dim=2), Flip(3)])
        >>> flow(torch.zeros(5, 2)).batch_shape, flow(torch.zeros(5, 2)).event_shape
        (torch.Size([5]), torch.Size([3]))
    """

    def __init__(self, base_dist: Distribution | nn.Module, transforms: Sequence[Transform]):
        super().__init__()
        transforms = list(transforms)
        self.input_dim, self.context_dim = common_dims(transforms)
        self.base_dist = as_base(base_dist, self.input_dim)
        base_context_dim = getattr(self.base_dist, "context_dim", 0)
        if base_context_dim and self.context_dim not in (0, base_context_dim):
            raise ValueError(
                f"base_dist must have the context_dim={self.context_dim} of the transforms, got "
                f"{base_context_dim}; build them alike."
            )
        self.context_dim = self.context_dim or base_context_dim
        self.transforms = nn.ModuleList(transforms)

    def forward(self, context: Tensor | None = None) -> "FlowDistribution":
        """Return the distribution given a context of shape ``batch_shape + (context_dim,)``.

        Raises:
            ValueError: if the context does not fit ``context_dim``.
        """
        check_context_shape(None if context is None else context.shape, self.context_dim)
        base_dist = self.base_dist(context_for(self.base_dist, context))
        return FlowDistribution(base_dist, self.transforms, context)


class FlowDistribution(TorchDistribution):
    r"""The distribution of :math:`T_n \circ \ldots \circ T_1(z)`, from calling a :class:`Flow`.

    A sample and its log-density are computed in one pass: the pair is kept on this object (never on
    a module) and used when that very tensor is scored before it or a parameter has changed. The
    log-density of a reparameterised sample is then a function of the noise and the parameters.

    Args:
        base_dist: distribution with event shape ``(D,)``.
        transforms: transforms, applied from first to last when sampling.
        context: shape broadcastable to ``batch_shape + (context_dim,)``, or None.
        validate_args: whether values are checked against the support.
    """

    arg_constraints: dict = {}

    def __init__(
        self,
        base_dist: TorchDistribution,
        transforms: Sequence[Transform],
        context: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        batch_shape = base_dist.batch_shape
        if context is not None:
            batch_shape = torch.broadcast_shapes(batch_shape, context.shape[:-1])
        same_shape = batch_shape == base_dist.batch_shape
        self.base_dist = base_dist if same_shape else base_dist.expand(batch_shape)
        self.transforms = transforms
        self.context = context
        self._scored_sample = None
        super().__init__(batch_shape, base_dist.event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        return self.base_dist.has_rsample

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        return self.transforms[-1].codomain

    def expand(self, batch_shape, _instance=None) -> "FlowDistribution":
        batch_shape = torch.Size(batch_shape)
        return FlowDistribution(
            self.base_dist.expand(batch_shape),
            self.transforms,
            self.context,
            validate_args=self._validate_args,
        )

    def rsample(self, sample_shape=()) -> Tensor:
        return self._sample(self.base_dist.rsample, sample_shape)

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return self._sample(self.base_dist.sample, sample_shape)

    def _sample(self, draw: Callable, sample_shape) -> Tensor:
        x = draw(torch.Size(sample_shape))
        log_prob = self.base_dist.log_prob(x)
        for transform in self.transforms:
            context = context_for(transform, self.context)
            x, log_det = transform.forward_and_log_det(x, context)
            log_prob = log_prob - log_det
        if not torch.compiler.is_compiling():
            self._scored_sample = (x, self._state(x), log_prob)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        check_event_shape("value", value.shape, self.event_shape[0])
        if self._validate_args and not self._is_plainly_valid(value):
            self._validate_sample(value)
        known = self._recall(value)
        if known is not None:
            return known
        log_prob = 0.0
        for transform in reversed(self.transforms):
            context = context_for(transform, self.context)
            value, log_det = transform.inverse_and_log_det(value, context)
            log_prob = log_prob + log_det
        return log_prob + self.base_dist.log_prob(value)

    def _is_plainly_valid(self, value: Tensor) -> bool:
        return self.support is constraints.real_vector and is_plainly_real(self, value)

    def _recall(self, value: Tensor) -> Tensor | None:
        """Return the log-density of this tensor if it is a sample whose score still holds."""
        if self._scored_sample is None or self._scored_sample[0] is not value:
            return None
        _, state, log_prob = self._scored_sample
        return log_prob if state == self._state(value) else None

    def _state(self, value: Tensor) -> tuple:
        context = () if self.context is None else (self.context,)
        held = (tensor for transform in self.transforms for tensor in held_tensors(transform))
        return tensor_versions(value, *context, *held)

    def __getstate__(self) -> dict:
        held = {name: without_graph(getattr(self, name)) for name in ("base_dist", "context")}
        return {**self.__dict__, **held, "_scored_sample": None}
