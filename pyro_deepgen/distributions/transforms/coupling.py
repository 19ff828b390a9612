"""Coupling transforms: part of the inputs parameterises an elementwise map of the rest."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import constraints
from torch import Tensor

from ..._numerics.checks import check_context_shape
from ..._numerics.masks import coupling_mask
from ...nn import ConditionalParameters, Dense
from .base import Transform
from .elementwise import AffineMap, ElementwiseMap, start_free, vector_support

__all__ = ["Coupling"]


class Coupling(Transform):
    r"""A coupling :math:`y_A = x_A,\; y_B = f(x_B; \theta(x_A, c))`.

    Both directions cost one network evaluation; the inverse is exact.

    Args:
        input_dim: number ``D`` of inputs.
        elementwise: map of the transformed part, default :class:`AffineMap`.
        mask: which inputs stay unchanged: ``'alternate'``, ``'alternate_flipped'``, ``'half'``,
            ``'half_flipped'`` or ``D`` booleans. For ``D == 1`` the named masks keep nothing, and
            the coupling is an elementwise map of the context.
        hidden_dims: hidden widths of the network.
        context_dim: size of the context, 0 for none.
        activation: activation of the network.

    Raises:
        ValueError: if the mask has another length or keeps every input.

    Example:
        >>> import torch
        >>> Coupling(3, mask="half")(torch.ones(4, 3)).shape
        torch.Size([4, 3])

    References:
        Dinh et al. 2017, Density estimation using Real NVP, equations 4-8.
    """

    def __init__(
        self,
        input_dim: int,
        elementwise: ElementwiseMap | None = None,
        mask: str | Sequence[bool] = "alternate",
        hidden_dims: Sequence[int] = (64, 64),
        context_dim: int = 0,
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.elementwise = AffineMap() if elementwise is None else elementwise
        self.mask = coupling_mask(mask, self.input_dim)
        kept = [i for i, unchanged in enumerate(self.mask) if unchanged]
        moved = [i for i, unchanged in enumerate(self.mask) if not unchanged]
        order = kept + moved
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.long), persistent=False)
        self.register_buffer("moved", torch.tensor(moved, dtype=torch.long), persistent=False)
        self.register_buffer("restore", torch.tensor(order).argsort(), persistent=False)
        num_outputs = self.elementwise.num_params * len(moved)
        if kept:
            self.network = Dense(
                len(kept) + self.context_dim, num_outputs, hidden_dims, activation, zero_init=True
            )
            last = self.network.layers[-1]
            start_free(self.elementwise, len(moved), last.bias, last.weight)
        else:
            self.network = ConditionalParameters(num_outputs, context_dim, hidden_dims, activation)
            start_free(self.elementwise, len(moved), self.network.bias)

    @property
    def domain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    @property
    def codomain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    def _params(self, kept: Tensor, context: Tensor | None) -> Tensor:
        if self.kept.numel() == 0:
            params = self.network(context)
        elif context is None:
            params = self.network(kept)
        else:
            shape = torch.broadcast_shapes(kept.shape[:-1], context.shape[:-1])
            parts = [kept.expand(shape + (-1,)), context.expand(shape + (-1,))]
            params = self.network(torch.cat(parts, -1))
        return params.unflatten(-1, (self.elementwise.num_params, self.moved.numel()))

    def _apply_map(self, fn: Callable, point: Tensor, context: Tensor | None):
        check_context_shape(None if context is None else context.shape, self.context_dim)
        kept, moved = point.index_select(-1, self.kept), point.index_select(-1, self.moved)
        moved, log_det = fn(moved, self._params(kept, context))
        kept = kept.expand(moved.shape[:-1] + kept.shape[-1:])
        return torch.cat([kept, moved], -1).index_select(-1, self.restore), log_det.sum(-1)

    def forward_and_log_det(self, x, context=None):
        return self._apply_map(self.elementwise.forward_and_log_det, x, context)

    def inverse_and_log_det(self, y, context=None):
        return self._apply_map(self.elementwise.inverse_and_log_det, y, context)
