r"""Normalizing flows: a module whose call gives a host distribution.

.. math::
    x = T_n \circ \ldots \circ T_1 (z), \quad z \sim p_0, \qquad
    \log p(x) = \log p_0(z) - \sum_k \log |\det \partial T_k|.
"""

import copy
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.batch_util import promote_batch_shape, vmap_over
from numpyro.distributions.util import validate_sample

from .._numerics.checks import check_context_shape, check_event_shape
from ._stacking import leaf_ndims, log_prob_of_stack, sample_from_stack, stack_depth
from .bases import as_base, cast_like
from .transforms._sequence import context_for
from .transforms.base import Transform, common_dims

__all__ = ["Flow", "FlowDistribution"]


class Flow(eqx.Module):
    r"""A base distribution pushed through learnable transforms.

    Args:
        base_dist: a host distribution with event shape ``(D,)`` and empty batch shape, which is
            moved with the module but not trained, or a module whose call (with the context, if it
            has a ``context_dim``) gives one, which is trained.
        transforms: :class:`~numpyro_deepgen.distributions.transforms.Transform` objects, applied
            from first to last when sampling.

    Raises:
        ValueError: if the dimensions of base and transforms differ.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from numpyro_deepgen.distributions.transforms import Coupling, Flip
        >>> base = dist.Normal(jnp.zeros(3), 1.0).to_event(1)
        >>> flow = Flow(base, [Coupling(jax.random.key(0), 3, context_dim=2), Flip(3)])
        >>> flow(jnp.zeros((5, 2))).batch_shape, flow(jnp.zeros((5, 2))).event_shape
        ((5,), (3,))
    """

    base_dist: eqx.Module
    transforms: tuple[Transform, ...]
    input_dim: int = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)

    def __init__(self, base_dist: Distribution | eqx.Module, transforms: Sequence[Transform]):
        self.transforms = tuple(transforms)
        self.input_dim, context_dim = common_dims(self.transforms)
        self.base_dist = as_base(base_dist, self.input_dim)
        base_context_dim = getattr(self.base_dist, "context_dim", 0)
        if base_context_dim and context_dim not in (0, base_context_dim):
            raise ValueError(
                f"base_dist must have the context_dim={context_dim} of the transforms, got "
                f"{base_context_dim}; build them alike."
            )
        self.context_dim = context_dim or base_context_dim

    def __call__(self, context: Array | None = None) -> "FlowDistribution":
        """Return the distribution given a context of shape ``batch_shape + (context_dim,)``.

        Raises:
            ValueError: if the context does not fit ``context_dim``.
        """
        check_context_shape(None if context is None else jnp.shape(context), self.context_dim)
        context = None if context is None else jnp.asarray(context)
        base_dist = self.base_dist(context_for(self.base_dist, context))
        return FlowDistribution(cast_like(base_dist, self.transforms), self.transforms, context)


class FlowDistribution(Distribution):
    r"""The distribution of :math:`T_n \circ \ldots \circ T_1(z)`, from calling a :class:`Flow`.

    A sample and its log-density are computed in one pass: the log-density is the intermediate that
    the host hands back when it scores that sample, as a function of the noise and the parameters.
    The object is a pytree whose arrays, the weights included, are data; stacked by ``jax.vmap`` or
    by the host's ``scan`` it samples and scores slice by slice.

    Args:
        base_dist: distribution with event shape ``(D,)``.
        transforms: transforms, applied from first to last when sampling.
        context: shape broadcastable to ``batch_shape + (context_dim,)``, or None.
        validate_args: whether values are checked against the support.
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("base_dist", "transforms", "context", "marker")
    pytree_aux_fields = ("leaf_ndims", "marker_ndim")

    def __init__(
        self,
        base_dist: Distribution,
        transforms: Sequence[Transform],
        context: Array | None = None,
        validate_args: bool | None = None,
    ):
        batch_shape = base_dist.batch_shape
        if context is not None:
            batch_shape = jnp.broadcast_shapes(batch_shape, context.shape[:-1])
        self.base_dist = base_dist.expand(batch_shape)
        self.transforms = tuple(transforms)
        self.context = context
        # an array of the batch shape: it shows axes stacked in front by vmap and scan
        self.marker, self.marker_ndim = jnp.zeros(batch_shape), len(batch_shape)
        super().__init__(batch_shape, base_dist.event_shape, validate_args=validate_args)
        self.leaf_ndims = leaf_ndims(self)

    @property
    def has_rsample(self) -> bool:
        return self.base_dist.has_rsample

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        return self.transforms[-1].codomain

    def expand(self, batch_shape) -> Distribution:
        batch_shape = tuple(batch_shape)
        if batch_shape == self.batch_shape or stack_depth(self):
            return super().expand(batch_shape)
        return FlowDistribution(
            self.base_dist.expand(batch_shape),
            self.transforms,
            self.context,
            validate_args=self._validate_args,
        )

    def sample(self, key: Array, sample_shape=()) -> Array:
        return self.sample_from_slice(key, tuple(sample_shape))[0]

    def sample_with_intermediates(self, key: Array, sample_shape=()) -> tuple[Array, list[Array]]:
        """Return a sample and, in a list, its log-density."""
        x, log_prob = self.sample_from_slice(key, tuple(sample_shape))
        return x, [log_prob]

    @validate_sample
    def log_prob(self, value: Array, intermediates: list[Array] | None = None) -> Array:
        if intermediates:
            return intermediates[0]
        value = jnp.asarray(value)
        check_event_shape("value", value.shape, self.event_shape[0])
        return self.log_prob_of_slice(value)

    def sample_from_slice(self, rng_key: Array, sample_shape) -> tuple[Array, Array]:
        if stack_depth(self):
            return sample_from_stack(self, rng_key, sample_shape)
        # the host draws in its default dtype
        z = cast_like(self.base_dist.sample(rng_key, sample_shape), self.transforms)
        x, log_det = _apply(_push_forward, self.transforms, z, self.context)
        return x, self.base_dist.log_prob(z) - log_det

    def log_prob_of_slice(self, value: Array) -> Array:
        if stack_depth(self):
            return log_prob_of_stack(self, value)
        z, log_det = _apply(_pull_back, self.transforms, value, self.context)
        return log_det + self.base_dist.log_prob(z)


def _push_forward(transforms, z: Array, context: Array | None) -> tuple[Array, Array]:
    total = 0.0
    for transform in transforms:
        z, log_det = transform.forward_and_log_det(z, context_for(transform, context))
        total = total + log_det
    return z, total


def _pull_back(transforms, x: Array, context: Array | None) -> tuple[Array, Array]:
    total = 0.0
    for transform in reversed(transforms):
        x, log_det = transform.inverse_and_log_det(x, context_for(transform, context))
        total = total + log_det
    return x, total


_compiled = {function: jax.jit(function) for function in (_push_forward, _pull_back)}


def _apply(function: Callable, *operands) -> tuple[Array, Array]:
    """Call as one compiled program where the caller does not trace already."""
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(operands))
    return (function if traced else _compiled[function])(*operands)


@vmap_over.register
def _vmap_over_flow(d: FlowDistribution, base_dist=None, transforms=None, context=None):
    axes = copy.copy(d)
    axes.base_dist, axes.transforms, axes.context = base_dist, transforms, context
    given = (base_dist, transforms, context)
    axes.marker = None if all(axis is None for axis in given) else 0
    return axes


@promote_batch_shape.register
def _promote_batch_shape_of_flow(d: FlowDistribution):
    promoted = copy.copy(d)
    promoted._batch_shape = jnp.shape(d.marker)
    return promoted
