"""Mixtures of flows."""

import copy
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.batch_util import promote_batch_shape, vmap_over
from numpyro.distributions.util import validate_sample

from .._numerics.checks import check_context_shape, check_event_shape
from ..nn import ConditionalParameters
from ._stacking import leaf_ndims, log_prob_of_stack, sample_from_stack, stack_depth
from .flow import Flow
from .transforms._sequence import context_for

__all__ = ["MixtureFlow", "MixtureFlowDistribution"]


class MixtureFlow(eqx.Module):
    r"""A mixture of flows, :math:`p(x | c) = \sum_k \pi_k(c) \, p_k(x | c)`, with learned weights.

    The density is exact. Samples are not reparameterised.

    Args:
        rng_key: random key of the network of the weights.
        flows: at least one :class:`Flow`; equal ``input_dim`` and support, and a ``context_dim`` of
            0 or one common value.
        hidden_dims: hidden widths of the network of the weights, where there is a context.
        activation: its activation.

    Raises:
        ValueError: if the dimensions differ or the list is empty.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions import nsf
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> flows = [nsf(key, 2, context_dim=3) for key in keys]
        >>> mixture = MixtureFlow(jax.random.key(1), flows)
        >>> mixture(jnp.zeros((5, 3))).sample(jax.random.key(2), (7,)).shape
        (7, 5, 2)
    """

    flows: tuple[Flow, ...]
    logits: ConditionalParameters
    input_dim: int = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        flows: Sequence[Flow],
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        flows = tuple(flows)
        input_dims = {flow.input_dim for flow in flows}
        context_dims = {flow.context_dim for flow in flows} - {0}
        if len(input_dims) != 1 or len(context_dims) > 1:
            raise ValueError(
                f"flows must be at least one, of one input_dim and one context_dim (or none), got "
                f"{sorted(input_dims)} and {sorted(context_dims)}; build them alike."
            )
        self.input_dim = input_dims.pop()
        self.context_dim = context_dims.pop() if context_dims else 0
        self.flows = flows
        self.logits = ConditionalParameters(
            rng_key, len(flows), self.context_dim, hidden_dims, activation
        )

    def __call__(self, context: Array | None = None) -> "MixtureFlowDistribution":
        """Return the distribution given a context of shape ``batch_shape + (context_dim,)``.

        Raises:
            ValueError: if the context does not fit ``context_dim``.
        """
        check_context_shape(None if context is None else jnp.shape(context), self.context_dim)
        context = None if context is None else jnp.asarray(context)
        components = [flow(context_for(flow, context)) for flow in self.flows]
        return MixtureFlowDistribution(self.logits(context), components)


class MixtureFlowDistribution(Distribution):
    r"""A finite mixture of distributions of any kinds with event shape ``(D,)`` and one support.

    Args:
        logits: unnormalised log-weights, shape ``batch_shape + (K,)``.
        components: ``K`` distributions of batch shapes broadcastable to ``batch_shape``.
        validate_args: whether values are checked against the support.

    Raises:
        ValueError: if the supports differ.
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("logits", "components", "marker")
    pytree_aux_fields = ("leaf_ndims", "marker_ndim")

    def __init__(
        self,
        logits: Array,
        components: Sequence[Distribution],
        validate_args: bool | None = None,
    ):
        supports = {str(component.support) for component in components}
        if len(supports) > 1:
            raise ValueError(
                f"components must have one support, got {', '.join(sorted(supports))}; end all "
                "flows with the same transform."
            )
        shapes = [component.batch_shape for component in components]
        batch_shape = jnp.broadcast_shapes(logits.shape[:-1], *shapes)
        self.logits = jnp.broadcast_to(logits, batch_shape + logits.shape[-1:])
        self.components = tuple(component.expand(batch_shape) for component in components)
        # an array of the batch shape: it shows axes stacked in front by vmap and scan
        self.marker, self.marker_ndim = jnp.zeros(batch_shape), len(batch_shape)
        event_shape = components[0].event_shape
        super().__init__(batch_shape, event_shape, validate_args=validate_args)
        self.leaf_ndims = leaf_ndims(self)

    @property
    def has_rsample(self) -> bool:
        return False

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        return self.components[0].support

    def expand(self, batch_shape) -> Distribution:
        batch_shape = tuple(batch_shape)
        if batch_shape == self.batch_shape or stack_depth(self):
            return super().expand(batch_shape)
        return MixtureFlowDistribution(
            jnp.broadcast_to(self.logits, batch_shape + self.logits.shape[-1:]),
            [component.expand(batch_shape) for component in self.components],
            validate_args=self._validate_args,
        )

    def sample(self, key: Array, sample_shape=()) -> Array:
        return self.sample_from_slice(key, tuple(sample_shape))[0]

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        value = jnp.asarray(value)
        check_event_shape("value", value.shape, self.event_shape[0])
        return self.log_prob_of_slice(value)

    def sample_from_slice(self, rng_key: Array, sample_shape) -> tuple[Array, Array]:
        if stack_depth(self):
            return sample_from_stack(self, rng_key, sample_shape)
        weight_key, *keys = jax.random.split(rng_key, len(self.components) + 1)
        shape = sample_shape + self.logits.shape[:-1]
        chosen = jax.random.categorical(weight_key, self.logits, shape=shape)
        draws = [c.sample(key, sample_shape) for c, key in zip(self.components, keys, strict=True)]
        x = jnp.take_along_axis(jnp.stack(draws, -2), chosen[..., None, None], -2)[..., 0, :]
        x = lax.stop_gradient(x)
        return x, self.log_prob_of_slice(x)

    def log_prob_of_slice(self, value: Array) -> Array:
        if stack_depth(self):
            return log_prob_of_stack(self, value)
        terms = jnp.stack([component.log_prob(value) for component in self.components], -1)
        return logsumexp(terms + jax.nn.log_softmax(self.logits, -1), -1)


@vmap_over.register
def _vmap_over_mixture(d: MixtureFlowDistribution, logits=None, components=None):
    axes = copy.copy(d)
    axes.logits, axes.components = logits, components
    axes.marker = None if logits is None and components is None else 0
    return axes


@promote_batch_shape.register
def _promote_batch_shape_of_mixture(d: MixtureFlowDistribution):
    promoted = copy.copy(d)
    promoted._batch_shape = jnp.shape(d.marker)
    return promoted
