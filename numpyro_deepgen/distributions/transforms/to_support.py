"""The host's bijection to a constraint, as the last transform of a flow."""

from jax import Array
from numpyro.distributions import biject_to, constraints

from ._host import Constant, is_traced
from .base import Transform

__all__ = ["ToSupport"]


class ToSupport(Transform):
    r"""The host's ``biject_to(constraint)`` from :math:`R^D`, so that a flow has that support.

    Both directions are the host's, in closed form, and nothing is learned. A constraint of scalars
    holds for each entry.

    Args:
        constraint: a constraint of the host that keeps the number of entries, for example
            ``positive``, ``interval(a, b)``, ``greater_than(a)`` or ``ordered_vector``; bounds may
            be concrete arrays of shape ``(D,)``.
        input_dim: number ``D`` of inputs.

    Raises:
        ValueError: if the host has no bijection to the constraint, or one that changes the number
            of entries (as for the simplex), or if a bound is under tracing.

    Example:
        >>> import jax.numpy as jnp
        >>> from numpyro.distributions import constraints
        >>> ToSupport(constraints.positive, 2)(jnp.zeros(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, constraint: constraints.Constraint, input_dim: int):
        super().__init__(input_dim)
        if is_traced(constraint):
            raise ValueError(
                f"constraint must hold concrete bounds, got {constraint} with values under "
                "tracing; build the transform outside of jit."
            )
        try:
            bijector = biject_to(constraint)
        except NotImplementedError as error:
            raise ValueError(
                f"constraint must be one that biject_to knows, got {constraint}; use for example "
                "constraints.positive."
            ) from error
        event_dim = bijector.codomain.event_dim
        shape = (self.input_dim,)
        if event_dim > 1 or tuple(bijector.forward_shape(shape)) != shape:
            raise ValueError(
                f"constraint must keep the number of entries, got {constraint}; use for example "
                "constraints.positive."
            )
        self.bijector = Constant(bijector)
        self.constraint = Constant(
            constraint if event_dim else constraints.independent(constraint, 1)
        )

    @property
    def codomain(self) -> constraints.Constraint:
        return self.constraint.value

    def forward_and_log_det(self, x, context=None):
        bijector = self.bijector.cast(x.dtype)
        y = bijector(x)
        return y, _log_det(bijector, x, y)

    def inverse_and_log_det(self, y, context=None):
        bijector = self.bijector.cast(y.dtype)
        x = bijector._inverse(y)
        return x, -_log_det(bijector, x, y)


def _log_det(bijector, x: Array, y: Array) -> Array:
    log_det = bijector.log_abs_det_jacobian(x, y)
    return log_det if bijector.codomain.event_dim else log_det.sum(-1)
