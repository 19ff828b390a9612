r"""The contract of a learnable bijection.

A transform writes two methods, each returning the image and the log-determinant together,

.. math::
    (x, c) \mapsto \big(y, \log |\det \partial y / \partial x|\big), \qquad
    (y, c) \mapsto \big(x, \log |\det \partial x / \partial y|\big),

and every hook of the host is derived from them. Nothing is cached on a module: a density computed
after a parameter update is the new density.
"""

from collections.abc import Iterator, Sequence

import torch
from pyro.distributions import TransformModule, constraints
from pyro.distributions.conditional import ConditionalTransform
from torch import Tensor, nn

from ..._numerics.checks import check_context_shape, check_event_shape, check_positive_int
from ._sequence import apply_in_turn

__all__ = ["Compose", "ConditionedTransform", "Inverse", "Transform"]


class Transform(TransformModule, ConditionalTransform):
    r"""Base class of learnable bijections of :math:`R^D`, a host transform and a module in one.

    Subclasses write :meth:`forward_and_log_det` and :meth:`inverse_and_log_det`; all shapes are
    ``batch_shape + (input_dim,)`` for points, ``batch_shape`` for log-determinants and
    ``batch_shape + (context_dim,)`` for contexts, broadcasting against each other.

    Attributes:
        input_dim: size of the last dimension of points.
        context_dim: size of the context, 0 if the transform takes none (and ignores one).
        fast: the cheap direction, ``'both'``, ``'forward'`` or ``'inverse'``.
        partition: of couplings, which inputs are in one part with the first, else None.
    """

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.real_vector
    fast = "both"
    partition: tuple[bool, ...] | None = None

    def __init__(self, input_dim: int, context_dim: int = 0):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)

    def forward_and_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the image of ``x`` and the log-determinant of the map at ``x``."""
        raise NotImplementedError

    def inverse_and_log_det(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the preimage of ``y`` and the log-determinant of the inverse map at ``y``."""
        raise NotImplementedError

    def condition(self, context: Tensor | None) -> torch.distributions.Transform:
        """Bind a context; the result is an ordinary transform of the host.

        Raises:
            ValueError: if the context does not fit ``context_dim``.
        """
        if self.context_dim == 0:
            return self
        return ConditionedTransform(self, context)

    def oriented(self, inverse: bool) -> tuple["Transform", bool]:
        """Return what is evaluated, and whether its inverse is meant, in one direction."""
        return self, inverse

    def with_cache(self, cache_size: int = 1) -> "Transform":
        """Return the transform itself: caches would outlive parameter updates."""
        return self

    def _call(self, x: Tensor) -> Tensor:
        check_event_shape("x", x.shape, self.input_dim)
        return self.forward_and_log_det(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        check_event_shape("y", y.shape, self.input_dim)
        return self.inverse_and_log_det(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log-determinant, evaluated in the cheap direction."""
        return log_det_in_fast_direction(self, x, y, None)

    def __repr__(self) -> str:
        return nn.Module.__repr__(self)

    def extra_repr(self) -> str:
        context = f", context_dim={self.context_dim}" if self.context_dim else ""
        return f"input_dim={self.input_dim}{context}"


class ConditionedTransform(torch.distributions.Transform):
    """A transform with its context bound; what :meth:`Transform.condition` returns.

    The log-determinant of the last image is kept for one use, as long as neither the point nor a
    parameter has changed, so that a host that asks for the image and then for its log-determinant
    pays for one evaluation.

    Args:
        transform: the transform that holds the parameters.
        context: shape ``batch_shape + (context_dim,)``, or None if the transform takes none.
    """

    bijective = True

    def __init__(self, transform: Transform, context: Tensor | None = None):
        check_context_shape(None if context is None else context.shape, transform.context_dim)
        super().__init__()
        self.transform, self.context = transform, context
        self.domain, self.codomain = transform.domain, transform.codomain
        self._last = None

    def with_cache(self, cache_size: int = 1) -> "ConditionedTransform":
        return self

    def _call(self, x: Tensor) -> Tensor:
        check_event_shape("x", x.shape, self.transform.input_dim)
        y, log_det = self.transform.forward_and_log_det(x, self.context)
        self._last = (x, y, self._state(x, y), log_det)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        check_event_shape("y", y.shape, self.transform.input_dim)
        return self.transform.inverse_and_log_det(y, self.context)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        last, self._last = self._last, None
        if last is not None and last[0] is x and last[1] is y and last[2] == self._state(x, y):
            return last[3]
        return log_det_in_fast_direction(self.transform, x, y, self.context)

    def _state(self, *points: Tensor) -> tuple:
        context = () if self.context is None else (self.context,)
        return tensor_versions(*points, *context, *held_tensors(self.transform))

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_last": None}

    def __hash__(self) -> int:
        return id(self)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._broadcast_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._broadcast_shape(shape)

    def _broadcast_shape(self, shape: Sequence[int]) -> torch.Size:
        if self.context is None:
            return torch.Size(shape)
        return torch.broadcast_shapes(shape, self.context.shape[:-1] + (1,))


class Inverse(Transform):
    r"""The inverse of a transform, as a transform that holds its parameters.

    Args:
        transform: any :class:`Transform`; what was its cheap direction is now the other one.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions.transforms import Permutation
        >>> Inverse(Permutation([1, 2, 0]))(torch.tensor([1.0, 2.0, 3.0])).tolist()
        [3.0, 1.0, 2.0]
    """

    def __init__(self, transform: Transform):
        super().__init__(transform.input_dim, transform.context_dim)
        self.transform = transform
        self.domain, self.codomain = transform.codomain, transform.domain
        self.fast = {"forward": "inverse", "inverse": "forward"}.get(transform.fast, "both")

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
        >>> import torch
        >>> from pyro_deepgen.distributions.transforms import Flip, ElementwiseAffine
        >>> Compose([Flip(3), ElementwiseAffine(3)])(torch.tensor([1.0, 2.0, 3.0]))[0].item()
        3.0
    """

    def __init__(self, transforms: Sequence[Transform]):
        transforms = list(transforms)
        input_dim, context_dim = common_dims(transforms)
        super().__init__(input_dim, context_dim)
        self.transforms = nn.ModuleList(transforms)
        self.domain, self.codomain = transforms[0].domain, transforms[-1].codomain
        sides = {transform.fast for transform in transforms} - {"both"}
        self.fast = sides.pop() if len(sides) == 1 else "both"

    def forward_and_log_det(self, x, context=None):
        steps = [transform.oriented(inverse=False) for transform in self.transforms]
        return apply_in_turn(steps, x, context)

    def inverse_and_log_det(self, y, context=None):
        steps = [transform.oriented(inverse=True) for transform in reversed(self.transforms)]
        return apply_in_turn(steps, y, context)


def held_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield the parameters and buffers of a module; the names, which cost more, are not made."""
    for tensors in (module._parameters, module._buffers):
        yield from (tensor for tensor in tensors.values() if tensor is not None)
    for part in module._modules.values():
        if part is not None:
            yield from held_tensors(part)


def tensor_versions(*tensors: Tensor) -> tuple:
    """Return a key that changes when a tensor is updated in place or gradients are switched."""
    versions = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
    return (torch.is_grad_enabled(), *versions)


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
    transform: Transform, x: Tensor, y: Tensor, context: Tensor | None
) -> Tensor:
    """Return ``log |det dy/dx|`` from whichever of ``x`` and ``y`` costs less."""
    if transform.fast == "inverse":
        return -transform.inverse_and_log_det(y, context)[1]
    return transform.forward_and_log_det(x, context)[1]
