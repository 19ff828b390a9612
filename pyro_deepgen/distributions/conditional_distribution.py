"""A network whose call gives a distribution."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from .._numerics.checks import check_dims
from ._elements import check_conditional
from .conditionals import Conditional

__all__ = ["ConditionalDistribution"]


class ConditionalDistribution(nn.Module):
    r"""A network of the inputs, and a conditional that takes what it gives: a decoder or encoder.

    .. math:: p(x \mid z) = \prod_i p(x_i \mid f_i(z))

    Args:
        network: module that maps the inputs, and the context if there is one, to all parameters:
            ``batch_shape + (n * num_params,)`` for ``n`` elements, element by element, or, with
            ``channels_first``, ``batch_shape + (channels * num_params, *spatial)``.
        conditional: the family of one element.
        event_shape: shape of the array of elements, ``()`` for one element.
        channels_first: whether the network gives images. ``event_shape`` is then ``(channels,
            *spatial)``, or just ``spatial`` of a conditional whose element holds the channels.
        offset: what is added to the parameters of each element, shape ``event_shape +
            (num_params,)``, and learned from there; None for nothing.

    Shape:
        The distribution has batch shape ``batch_shape`` and the event shape ``event_shape``
        followed by that of one element.

    Raises:
        TypeError: if ``conditional`` is none.
        ValueError: if ``offset`` has another shape; in use, if what the network gives does not fit.

    Example:
        >>> import torch
        >>> from pyro_deepgen.nn import Dense
        >>> from pyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> decoder = ConditionalDistribution(Dense(2, 64), BernoulliConditional(), (8, 8))
        >>> decoder(torch.zeros(5, 2)).batch_shape, decoder(torch.zeros(5, 2)).event_shape
        (torch.Size([5]), torch.Size([8, 8]))
    """

    def __init__(
        self,
        network: Callable,
        conditional: Conditional,
        event_shape: Sequence[int] = (),
        channels_first: bool = False,
        offset: np.ndarray | None = None,
    ):
        super().__init__()
        self.network, self.conditional = network, check_conditional(conditional)
        self.event_shape = check_dims("event_shape", event_shape)
        self.channels_first = channels_first
        expected = (*self.event_shape, conditional.num_params)
        if offset is not None and np.shape(offset) != expected:
            raise ValueError(
                f"offset must have shape {expected}, got {np.shape(offset)}; pass the parameters "
                "of each element, for example those of conditional.marginal_params."
            )
        self.offset = (
            None
            if offset is None
            else nn.Parameter(torch.tensor(offset, dtype=torch.get_default_dtype()))
        )

    def features(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """What the network makes of the inputs: all parameters."""
        return self.network(inputs) if context is None else self.network(inputs, context)

    def distribution(self, features: Tensor) -> Distribution:
        """The distribution with these parameters."""
        params = self._by_element(features)
        if self.offset is not None:
            params = params + self.offset
        return self.conditional(params).to_event(len(self.event_shape))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Distribution:
        """Return the distribution given inputs, and a context that the network takes too."""
        return self.distribution(self.features(inputs, context))

    def _by_element(self, params: Tensor) -> Tensor:
        """What the network gives, with the parameters of one element in the last dimension."""
        count, shape = self.conditional.num_params, self.event_shape
        if not self.channels_first:
            expected, split, place = (math.prod(shape) * count,), (*shape, count), -1
        elif self.conditional.event_shape:
            expected, split, place = (count, *shape), (count, *shape), -len(shape) - 1
        else:
            channels, *spatial = shape
            expected, split = (channels * count, *spatial), (channels, count, *spatial)
            place = -len(shape)
        if tuple(params.shape[-len(expected) :]) != expected:
            raise ValueError(
                f"network must give parameters of shape {expected} after the batch shape, got "
                f"{tuple(params.shape)}; build it with as many outputs."
            )
        params = params.reshape((*params.shape[: params.ndim - len(expected)], *split))
        return params if place == -1 else torch.movedim(params, place, -1)
