r"""The contract of a learnable bijection.

A transform writes two methods, each returning the image and the log-determinant together,

.. math::
    (x, c) \mapsto \big(y, \log |\det \partial y / \partial x|\big), \qquad
    (y, c) \mapsto \big(x, \log |\det \partial x / \partial y|\big),

and every hook of the host is derived from them. A transform is a pytree whose arrays are data, so
jit, grad, vmap, scan and cond take it as an argument, with one trace for all parameter values.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ..._numerics.checks import check_context_shape, check_event_shape, check_positive_int
from ._pytree import PytreeTransform
from ._sequence import apply_in_turn

__all__ = ["Compose", "ConditionedTransform", "Inverse", "Transform"]


class Transform(PytreeTransform):
    r"""Base class of learnable bijections of :math:`R^D`, host transforms that hold parameters.

    Subclasses write :meth:`forward_and_log_det` and :meth:`inverse_and_log_det`; all shapes are
    ``batch_shape + (input_dim,)`` for points, ``batch_shape`` for log-determinants and
    ``batch_shape + (context_dim,)`` for contexts, broadcasting against each other. Attributes may
    be arrays, Equinox modules, transforms and tuples of these, and hashable settings.

    Attributes:
        input_dim: size of the last dimension of points.
        context_dim: size of the context, 0 if the transform takes none (and ignores one).
        fast: the cheap direction, ``'both'``, ``'forward'`` or ``'inverse'``.
        partition: of couplings, which inputs are in one part with the first, else None.
        own_order: an order of the inputs in which layers of one kind look alike, or None.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    fast = "both"
    partition: tuple[bool, ...] | None = None
    own_order: tuple[int, ...] | None = None

    def __init__(self, input_dim: int, context_dim: int = 0):
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)

    def forward_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Return the image of ``x`` and the log-determinant of the map at ``x``."""
        raise NotImplementedError

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Return the preimage of ``y`` and the log-determinant of the inverse map at ``y``."""
        raise NotImplementedError

    def oriented(self, inverse: bool) -> tuple["Transform", bool]:
        """Return what is evaluated, and whether its inverse is meant, in one direction."""
        return self, inverse

    def reordered(self, order: tuple[int, ...]) -> "Transform":
        """Return the same map of inputs that come as ``x[..., order]``; images do too.

        Only transforms with an ``own_order`` can, and ``order`` must be that or what undoes it.
        """
        raise NotImplementedError

    def condition(self, context: Array | None) -> dist.transforms.Transform:
        """Bind a context; the result is an ordinary transform of the host.

        Raises:
            ValueError: if the context does not fit ``context_dim``.
        """
        if self.context_dim == 0:
            return self
        return ConditionedTransform(self, context)

    def __call__(self, x: Array) -> Array:
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x: Array) -> tuple[Array, Array]:
        """Return the image and the log-determinant, which the host hands back when scoring."""
        x = jnp.asarray(x)
        check_event_shape("x", x.shape, self.input_dim)
        return self.forward_and_log_det(x)

    def _inverse(self, y: Array) -> Array:
        y = jnp.asarray(y)
        check_event_shape("y", y.shape, self.input_dim)
        return self.inverse_and_log_det(y)[0]

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates=None) -> Array:
        """Return the log-determinant, known already or evaluated in the cheap direction."""
        if intermediates is not None:
            return intermediates
        return log_det_in_fast_direction(self, x, y, None)

    def __repr__(self) -> str:
        context = f", context_dim={self.context_dim}" if self.context_dim else ""
        return f"{type(self).__name__}(input_dim={self.input_dim}{context})"


class ConditionedTransform(PytreeTransform):
    """A transform with its context bound; what :meth:`Transform.condition` returns.

    Args:
        transform: the transform that holds the parameters.
        context: shape ``batch_shape + (context_dim,)``, or None if the transform takes none.
    """

    def __init__(self, transform: Transform, context: Array | None = None):
        check_context_shape(None if context is None else context.shape, transform.context_dim)
        self.transform, self.context = transform, context

    @property
    def domain(self) -> constraints.Constraint:
        return self.transform.domain

    @property
    def codomain(self) -> constraints.Constraint:
        return self.transform.codomain

    def __call__(self, x: Array) -> Array:
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x: Array) -> tuple[Array, Array]:
        x = jnp.asarray(x)
        check_event_shape("x", x.shape, self.transform.input_dim)
        return self.transform.forward_and_log_det(x, self.context)

    def _inverse(self, y: Array) -> Array:
        y = jnp.asarray(y)
        check_event_shape("y", y.shape, self.transform.input_dim)
        return self.transform.inverse_and_log_det(y, self.context)[0]

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates=None) -> Array:
        if intermediates is not None:
            return intermediates
        return log_det_in_fast_direction(self.transform, x, y, self.context)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._broadcast_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._broadcast_shape(shape)

    def _broadcast_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        if self.context is None:
            return tuple(shape)
        return jnp.broadcast_shapes(tuple(shape), self.context.shape[:-1] + (1,))


class Inverse(Transform):
    r"""The inverse of a transform, as a transform that holds its parameters.

    Args:
        transform: any :class:`Transform`; what was its cheap direction is now the other one.

    Example:
        >>> import jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import Permutation
        >>> Inverse(Permutation([1, 2, 0]))(jnp.array([1.0, 2.0, 3.0])).tolist()
        [3.0, 1.0, 2.0]
    """

    def __init__(self, transform: Transform):
        super().__init__(transform.input_dim, transform.context_dim)
        self.transform = transform

    @property
    def domain(self) -> constraints.Constraint:
        return self.transform.codomain

    @property
    def codomain(self) -> constraints.Constraint:
        return self.transform.domain

    @property
    def fast(self) -> str:
        return {"forward": "inverse", "inverse": "forward"}.get(self.transform.fast, "both")

    @property
    def own_order(self) -> tuple[int, ...] | None:
        return self.transform.own_order

    def reordered(self, order):
        return Inverse(self.transform.reordered(order))

    def oriented(self, inverse: bool) -> tuple[Transform, bool]:
        return self.transform.oriented(not inverse)

    def forward_and_log_det(self, x, context=None):
        return self.transform.inverse_and_log_det(x, context)

    def inverse_and_log_det(self, y, context=None):
        return self.transform.forward_and_log_det(y, context)


class Compose(Transform):
    r"""Several transforms, applied from first to last.

    Args:
        transforms: at least one :class:`Transform`, of equal ``input_dim``; their ``context_dim``
            must be 0 or one common value.

    Raises:
        ValueError: if the dimensions differ or the list is empty.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import Flip, ElementwiseAffine
        >>> scaling = ElementwiseAffine(jax.random.key(0), 3)
        >>> Compose([Flip(3), scaling])(jnp.array([1.0, 2.0, 3.0]))[0].item()
        3.0
    """

    def __init__(self, transforms: Sequence[Transform]):
        self.transforms = tuple(transforms)
        super().__init__(*common_dims(self.transforms))

    @property
    def domain(self) -> constraints.Constraint:
        return self.transforms[0].domain

    @property
    def codomain(self) -> constraints.Constraint:
        return self.transforms[-1].codomain

    @property
    def fast(self) -> str:
        sides = {transform.fast for transform in self.transforms} - {"both"}
        return sides.pop() if len(sides) == 1 else "both"

    def forward_and_log_det(self, x, context=None):
        steps = [transform.oriented(inverse=False) for transform in self.transforms]
        return apply_in_turn(steps, x, context)

    def inverse_and_log_det(self, y, context=None):
        steps = [transform.oriented(inverse=True) for transform in reversed(self.transforms)]
        return apply_in_turn(steps, y, context)


def common_dims(transforms: Sequence[Transform]) -> tuple[int, int]:
    """Return the common ``(input_dim, context_dim)`` of transforms, or raise."""
    if not transforms:
        raise ValueError("transforms must hold at least one transform, got none; pass a list.")
    for transform in transforms:
        if not isinstance(transform, Transform):
            raise TypeError(
                f"transforms must hold Transform objects of this package, got {transform!r}; "
                "wrap a host transform in a subclass of Transform."
            )
    input_dims = {transform.input_dim for transform in transforms}
    context_dims = {transform.context_dim for transform in transforms} - {0}
    if len(input_dims) > 1:
        raise ValueError(
            f"transforms must share one input_dim, got {sorted(input_dims)}; build them alike."
        )
    if len(context_dims) > 1:
        raise ValueError(
            f"transforms must share one context_dim (or take none), got {sorted(context_dims)}; "
            "build them alike."
        )
    return input_dims.pop(), (context_dims.pop() if context_dims else 0)


def log_det_in_fast_direction(
    transform: Transform, x: Array, y: Array, context: Array | None
) -> Array:
    """Return ``log |det dy/dx|`` from whichever of ``x`` and ``y`` costs less."""
    if transform.fast == "inverse":
        return -transform.inverse_and_log_det(y, context)[1]
    return transform.forward_and_log_det(x, context)[1]
