r"""The flow of an autoregressive density of real numbers.

.. math::
    x_{o(t)} = F^{-1}\big(\Phi(u_{o(t)}) \,\big|\, x_{o(0)}, \ldots, x_{o(t-1)}, c\big)

maps standard normal noise to draws, with the distribution functions :math:`F` of the conditionals.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from numpyro.distributions import constraints

from ._autoregressive_passes import params_of, rows_of, steps_of
from ._elements import check_has_noise
from .transforms._implicit import triangular_inverse
from .transforms._pytree import PytreeTransform

__all__ = ["AutoregressiveTransform"]


class AutoregressiveTransform(PytreeTransform):
    r"""The transform of an :class:`AutoregressiveDistribution`, from noise to values.

    A standard normal distribution of the event shape pushed through it is the distribution itself.
    The inverse direction, from values to noise, is one pass; the forward direction takes one step
    a position, as sampling does, and a root of a scalar function where the conditional has no
    closed form. Its derivatives are implicit. The distribution's context is bound; its parameters
    are those of the module that it came from.

    Args:
        distribution: one with a conditional of real numbers, or a normal vector, and one order.

    Raises:
        TypeError: if the conditional is another one.
        ValueError: if there are several orders.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from numpyro_deepgen.distributions import made
        >>> from numpyro_deepgen.distributions.conditionals import NormalConditional
        >>> key = jax.random.key(0)
        >>> d = made(key, (3,), NormalConditional(), (8,))()
        >>> noise = dist.Normal(jnp.zeros(3), 1.0).to_event(1)
        >>> flow = dist.TransformedDistribution(noise, [d.as_transform()])
        >>> x = flow.rsample(key)
        >>> bool(jnp.allclose(flow.log_prob(x), d.log_prob(x), atol=1e-5))
        True
    """

    fast = "inverse"

    def __init__(self, distribution):
        check_has_noise(distribution.static.conditional)
        if len(distribution.indices) > 1:
            raise ValueError(
                "distribution must have one order for a transform, got "
                f"{len(distribution.indices)}; call the module with order_index=0, say."
            )
        self.distribution = distribution

    @property
    def domain(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.distribution.event_shape))

    @property
    def codomain(self) -> constraints.Constraint:
        return self.domain

    def forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        """Return the values of noise, and the log-determinant; one step a position."""
        flat = self._flat(x)
        if not flat.size:
            return self._joined(flat), flat.sum(-1)
        y, log_det = triangular_inverse(_solve, _noise, self.distribution, flat)
        return self._joined(y), log_det

    def inverse_and_log_det(self, y: Array) -> tuple[Array, Array]:
        """Return the noise of values, and the log-determinant of the inverse; one pass."""
        flat = self._flat(y)
        if not flat.size:
            return self._joined(flat), flat.sum(-1)
        u, log_slopes = _noise(self.distribution, flat)
        return self._joined(u), log_slopes.sum(-1)

    def _flat(self, x: Array) -> Array:
        """Return points ``(..., *event_shape)`` as ``(..., D)``, position by position."""
        x, event_shape = jnp.asarray(x), self.distribution.event_shape
        if x.shape[x.ndim - len(event_shape) :] != event_shape:
            raise ValueError(
                f"points must have shape (...) + {event_shape}, got {x.shape}; see event_shape of "
                "the distribution."
            )
        shape = self._broadcast_shape(x.shape)
        elements = self.distribution.static.elements.split(jnp.broadcast_to(x, shape))
        size = math.prod(event_shape)
        return elements.reshape(shape[: len(shape) - len(event_shape)] + (size,))

    def _joined(self, flat: Array) -> Array:
        static = self.distribution.static
        shape = flat.shape[:-1] + (static.elements.num_positions, *static.conditional.event_shape)
        return static.elements.join(flat.reshape(shape))

    def __call__(self, x: Array) -> Array:
        return self.forward_and_log_det(x)[0]

    def call_with_intermediates(self, x: Array) -> tuple[Array, Array]:
        """Return the image and the log-determinant, which the host hands back when scoring."""
        return self.forward_and_log_det(x)

    def _inverse(self, y: Array) -> Array:
        return self.inverse_and_log_det(y)[0]

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates=None) -> Array:
        """Return the log-determinant, known already or by one pass."""
        if intermediates is not None:
            return intermediates
        return -self.inverse_and_log_det(y)[1]

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._broadcast_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._broadcast_shape(shape)

    def _broadcast_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        d = self.distribution
        return jnp.broadcast_shapes(tuple(shape), d.batch_shape + d.event_shape)


def _noise(d, x: Array, context: None = None) -> tuple[Array, Array]:
    """Return the noise of values ``(..., D)`` and the elementwise log-derivatives."""
    conditional = d.static.conditional
    shape = (d.static.elements.num_positions, *conditional.event_shape)
    elements = x.reshape(x.shape[:-1] + shape)
    u, log_slopes = conditional.to_noise(params_of(d, elements, d.indices[0]), elements)
    return u.reshape(x.shape), log_slopes.reshape(x.shape)


def _solve(d, u: Array, context: None = None) -> tuple[Array, Array]:
    """Return the values of noise ``(..., D)`` and the elementwise log-derivatives."""
    module, shape, index = d.module, u.shape[:-1], d.indices[0]
    conditional, order = module.conditional, jnp.asarray(module.orders)[index]
    context = rows_of(d.context, shape, len(module.network.context_shape))
    keep = rows_of(d.keep, shape, 1)
    parts = rows_of(u, shape, 1).reshape((-1, len(order), *conditional.event_shape))
    start, params_next, give = steps_of(module, len(parts), context, index, keep)

    def visit(state, inputs):
        rank, noise = inputs
        params, state = params_next(state, rank)
        value, log_slope = conditional.from_noise(params, noise)
        return give(state, value, rank), (value, log_slope)

    inputs = jnp.arange(len(order)), jnp.moveaxis(parts, 1, 0)[order]
    _, found = lax.scan(visit, start, inputs)
    back = jnp.argsort(order)
    return jax.tree.map(lambda a: jnp.moveaxis(a[back], 0, 1).reshape(u.shape), found)
