"""Coupling transforms: part of the inputs parameterises an elementwise map of the rest."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import constraints

from ..._numerics.checks import check_context_shape
from ..._numerics.masks import coupling_mask
from ...nn import ConditionalParameters, Dense
from ...ops._random import check_rng_key
from ._partition import merge_parts, split_parts
from ._sequence import apply_couplings
from .base import Transform
from .elementwise import AffineMap, ElementwiseMap, start_free, start_last_layer, vector_support

__all__ = ["Coupling"]


class Coupling(Transform):
    r"""A coupling :math:`y_A = x_A,\; y_B = f(x_B; \theta(x_A, c))`.

    Both directions cost one network evaluation; the inverse is exact.

    Args:
        rng_key: random key of the network.
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
        >>> import jax, jax.numpy as jnp
        >>> Coupling(jax.random.key(0), 3, mask="half")(jnp.ones((4, 3))).shape
        (4, 3)

    References:
        Dinh et al. 2017, Density estimation using Real NVP, equations 4-8.
    """

    def __init__(
        self,
        rng_key: Array,
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
        num_kept = sum(self.mask)
        num_moved = self.input_dim - num_kept
        num_outputs = self.elementwise.num_params * num_moved
        network_key, free_key = jax.random.split(check_rng_key(rng_key))
        if num_kept:
            network = Dense(
                network_key,
                num_kept + self.context_dim,
                num_outputs,
                hidden_dims,
                activation,
                zero_init=True,
            )
            self.network = start_last_layer(free_key, self.elementwise, num_moved, network)
        else:
            init, _ = start_free(free_key, self.elementwise, num_moved, jnp.zeros(num_outputs))
            self.network = ConditionalParameters(
                network_key, num_outputs, context_dim, hidden_dims, activation, init
            )

    @property
    def domain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    @property
    def codomain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    @property
    def partition(self) -> tuple[bool, ...]:
        return tuple(unchanged == self.mask[0] for unchanged in self.mask)

    @property
    def own_order(self) -> tuple[int, ...]:
        """What stays unchanged, then what moves."""
        return tuple(sorted(range(self.input_dim), key=lambda i: not self.mask[i]))

    def reordered(self, order):
        return self.replaced(mask=tuple(self.mask[i] for i in order))

    def split(self, point: Array) -> tuple[Array, Array]:
        """Return the part that stays unchanged and the one that moves."""
        return split_parts(point, self.mask)

    def merge(self, kept: Array, moved: Array) -> Array:
        """Undo :meth:`split`; leading shapes broadcast."""
        shape = jnp.broadcast_shapes(kept.shape[:-1], moved.shape[:-1])
        parts = (jnp.broadcast_to(part, shape + part.shape[-1:]) for part in (kept, moved))
        return merge_parts(*parts, self.mask)

    def move(
        self, kept: Array, moved: Array, context: Array | None, inverse: bool
    ) -> tuple[Array, Array]:
        """Return the image of the part that moves, and the log-determinant."""
        check_context_shape(None if context is None else context.shape, self.context_dim)
        elementwise = self.elementwise
        apply = elementwise.inverse_and_log_det if inverse else elementwise.forward_and_log_det
        moved, log_det = apply(moved, self._params(kept, context, moved.shape[-1]))
        return moved, log_det.sum(-1)

    def _params(self, kept: Array, context: Array | None, num_moved: int) -> Array:
        if kept.shape[-1] == 0:
            params = self.network(context)
        elif context is None:
            params = self.network(kept)
        else:
            shape = jnp.broadcast_shapes(kept.shape[:-1], context.shape[:-1])
            parts = [jnp.broadcast_to(a, shape + a.shape[-1:]) for a in (kept, context)]
            params = self.network(jnp.concatenate(parts, -1))
        return params.reshape(params.shape[:-1] + (self.elementwise.num_params, num_moved))

    def forward_and_log_det(self, x, context=None):
        return apply_couplings([(self, False)], x, context)

    def inverse_and_log_det(self, y, context=None):
        return apply_couplings([(self, True)], y, context)
