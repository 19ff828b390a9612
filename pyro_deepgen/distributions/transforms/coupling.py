"""Coupling transforms: part of the inputs parameterises an elementwise map of the rest."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import constraints
from torch import Tensor

from ..._numerics.checks import check_context_shape
from ..._numerics.masks import coupling_mask
from ...nn import ConditionalParameters, Dense
from ._sequence import apply_couplings
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
        same_part = tuple(unchanged == self.mask[0] for unchanged in self.mask)
        self.partition = same_part
        # of a mask of two runs the parts are slices
        self.sizes = None
        if same_part == tuple(sorted(same_part, reverse=True)):
            self.sizes = (sum(same_part), self.input_dim - sum(same_part))
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

    def split(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return the part that stays unchanged and the one that moves."""
        if self.sizes is None:
            return point.index_select(-1, self.kept), point.index_select(-1, self.moved)
        first, last = point.split(self.sizes, -1)
        return (first, last) if self.mask[0] else (last, first)

    def merge(self, kept: Tensor, moved: Tensor) -> Tensor:
        """Undo :meth:`split`; leading shapes broadcast."""
        if kept.shape[:-1] != moved.shape[:-1]:
            shape = torch.broadcast_shapes(kept.shape[:-1], moved.shape[:-1])
            kept, moved = (part.expand(shape + part.shape[-1:]) for part in (kept, moved))
        if self.sizes is None:
            return torch.cat([kept, moved], -1).index_select(-1, self.restore)
        return torch.cat([kept, moved] if self.mask[0] else [moved, kept], -1)

    def move(
        self, kept: Tensor, moved: Tensor, context: Tensor | None, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the image of the part that moves, and the log-determinant."""
        check_context_shape(None if context is None else context.shape, self.context_dim)
        elementwise = self.elementwise
        apply = elementwise.inverse_and_log_det if inverse else elementwise.forward_and_log_det
        moved, log_det = apply(moved, self._params(kept, context))
        return moved, log_det.sum(-1)

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

    def forward_and_log_det(self, x, context=None):
        return apply_couplings([(self, False)], x, context)

    def inverse_and_log_det(self, y, context=None):
        return apply_couplings([(self, True)], y, context)
