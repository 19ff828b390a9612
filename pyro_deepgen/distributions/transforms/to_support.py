"""The host's bijection to a constraint, as the last transform of a flow."""

from collections.abc import Callable

from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import biject_to

from ._host import map_tensors
from .base import Transform

__all__ = ["ToSupport"]


class ToSupport(Transform):
    r"""The host's ``biject_to(constraint)`` from :math:`R^D`, so that a flow has that support.

    Both directions are the host's, in closed form, and nothing is learned. A constraint of scalars
    holds for each entry.

    Args:
        constraint: a constraint of the host that keeps the number of entries, for example
            ``positive``, ``interval(a, b)``, ``greater_than(a)`` or ``ordered_vector``; bounds may
            be tensors of shape ``(D,)``.
        input_dim: number ``D`` of inputs.

    Raises:
        ValueError: if the host has no bijection to the constraint, or one that changes the number
            of entries (as for the simplex).

    Example:
        >>> import torch
        >>> from pyro.distributions import constraints
        >>> ToSupport(constraints.positive, 2)(torch.zeros(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, constraint: constraints.Constraint, input_dim: int):
        super().__init__(input_dim)
        try:
            self.bijector = biject_to(constraint)
        except NotImplementedError as error:
            raise ValueError(
                f"constraint must be one that biject_to knows, got {constraint}; use for example "
                "constraints.positive."
            ) from error
        event_dim = self.bijector.codomain.event_dim
        shape = (self.input_dim,)
        if event_dim > 1 or tuple(self.bijector.forward_shape(shape)) != shape:
            raise ValueError(
                f"constraint must keep the number of entries, got {constraint}; use for example "
                "constraints.positive."
            )
        self.constraint = constraint if event_dim else constraints.independent(constraint, 1)

    @property
    def codomain(self) -> constraints.Constraint:
        return self.constraint

    def _apply(self, fn: Callable, recurse: bool = True) -> "ToSupport":
        self.bijector = map_tensors(self.bijector, fn)
        self.constraint = map_tensors(self.constraint, fn)
        return super()._apply(fn, recurse)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        log_det = self.bijector.log_abs_det_jacobian(x, y)
        return log_det if self.bijector.codomain.event_dim else log_det.sum(-1)

    def forward_and_log_det(self, x, context=None):
        y = self.bijector(x)
        return y, self._log_det(x, y)

    def inverse_and_log_det(self, y, context=None):
        x = self.bijector.inv(y)
        return x, -self._log_det(x, y)
