r"""Autoregressive networks as distributions.

.. math::
    p(x | c) = \prod_t p\big(x_{o(t)} \,\big|\, x_{o(0)}, \ldots, x_{o(t-1)}, c\big)

for an order :math:`o` of the positions, each factor a distribution whose parameters a network
gives for all positions in one pass. With several orders :math:`o_1, \ldots, o_M` it is the mixture
:math:`\frac{1}{M} \sum_m p_m(x | c)` of probabilities: a mean of the networks' outputs would see
every position and give no probability.
"""

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import logsumexp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.batch_util import promote_batch_shape, vmap_over
from numpyro.distributions.util import validate_sample

from .._numerics.checks import check_positive_int
from .._numerics.orders import resolve_orders
from ..nn.autoregressive_network import as_context
from ..ops._random import check_rng_key
from ._autoregressive_passes import apply, draw, log_prob_of, scored
from ._elements import Elements, check_event_shape, check_keep, check_mask, elements_of
from ._stacking import leaf_ndims, log_prob_of_stack, sample_from_stack, stack_depth
from .autoregressive_transform import AutoregressiveTransform
from .conditionals import Conditional

__all__ = ["Autoregressive", "AutoregressiveDistribution", "GivenSample"]


class GivenSample(NamedTuple):
    """Draws given some of the entries.

    Args:
        value: the draws.
        log_weight: of every draw, an unbiased estimate's log of the probability of what was given.
        is_exact: whether the draws are from the posterior as they are, and the weight is exact.
    """

    value: Array
    log_weight: Array
    is_exact: bool


class Autoregressive(eqx.Module):
    r"""A network, what its parameters mean, and the order of the positions.

    Args:
        network: an :class:`~numpyro_deepgen.nn.AutoregressiveNetwork`, or any module with its
            attributes and call. Its positions are visited from the first to the last: under another
            order it sees the positions as they are visited. A network with an attribute ``orders``
            (:class:`~numpyro_deepgen.nn.MADE`, :class:`~numpyro_deepgen.nn.VideoTransformer`)
            brings its own, and is given positions in their natural places.
        conditional: turns the parameters of one position into its distribution.
        event_shape: ``conditional.event_shape + grid_shape``, for example ``(28, 28)``, or
            ``(3, 32, 32)`` for a conditional of three channels. The positions may be those of
            another shape than the grid of the network, in row-major order.
        order: ``'raster'``, ``'reverse'``, ``'snake'``, ``'random'`` or a permutation of the
            positions, as from :func:`subscale_order`; or a list, for a mixture over orders.

    Values of a conditional of integers enter the network as one-hot vectors if its ``in_channels``
    is their number, else as numbers rescaled to [-1, 1]; bits and real numbers as they are.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> from numpyro_deepgen.nn import MADE
        >>> network = MADE(jax.random.key(0), 4, context_dim=2)
        >>> d = Autoregressive(network, BernoulliConditional(), (2, 2))(jnp.zeros((5, 2)))
        >>> d.batch_shape, d.event_shape
        ((5,), (2, 2))
    """

    network: eqx.Module
    conditional: Conditional = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    knows_orders: bool = eqx.field(static=True)
    orders: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __init__(
        self,
        network: eqx.Module,
        conditional: Conditional,
        event_shape: Sequence[int],
        order: str | Sequence = "raster",
    ):
        self.network, self.conditional = network, conditional
        self.event_shape = check_event_shape(network, conditional, event_shape)
        self.knows_orders = hasattr(network, "orders")
        grid_shape = self.event_shape[len(conditional.event_shape) :]
        self.orders = network.orders if self.knows_orders else resolve_orders(order, grid_shape)
        elements_of(conditional, self.event_shape, network.in_channels)

    @property
    def context_dim(self) -> int:
        return self.network.context_dim

    @property
    def elements(self) -> Elements:
        return elements_of(self.conditional, self.event_shape, self.network.in_channels)

    @property
    def dtype(self) -> jnp.dtype:
        """Precision of the network."""
        return next(a.dtype for a in jax.tree.leaves(self.network) if eqx.is_inexact_array(a))

    def __call__(
        self,
        context: Array | None = None,
        order_index: int | Array | None = None,
        keep: Array | None = None,
        rng_key: Array | None = None,
    ) -> "AutoregressiveDistribution":
        """Return the distribution given a context.

        Args:
            context: shape ``batch_shape + network.context_shape``, or None.
            order_index: which one of several orders to use alone; default the mixture of all. It
                may be traced for the density of a network that brings its orders.
            keep: booleans of shape ``batch_shape + (positions,)``, False where later positions do
                not see the element: the network is given zeros for it. None to keep all.
            rng_key: key of the dropout of a network that has it, for training, as from
                ``numpyro.prng_key()`` in a model; None for none. Samples never drop anything.
        """
        d = AutoregressiveDistribution(self, context, order_index, keep=keep)
        return with_dropout(d, None if rng_key is None else check_rng_key(rng_key))


class AutoregressiveDistribution(Distribution):
    r"""The distribution from calling an :class:`Autoregressive`.

    Densities take one pass of the network; samples one step of it a position, with what is known
    kept in a cache, and the density of a sample comes with it (its derivatives are those of one
    pass). Samples are not reparameterised. The object is a pytree whose arrays, the weights
    included, are data.

    Args:
        module: the network and what belongs to it.
        context: shape ``batch_shape + network.context_shape``, or None.
        order_index: which one of several orders to use, or None for all.
        batch_shape: a larger batch shape than that of the context.
        validate_args: whether values are checked against the support.
        keep: of which positions later ones see the element, shape ``batch_shape + (positions,)``,
            or None for all.
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("params", "context", "keep", "rng_key", "marker")
    pytree_aux_fields = ("static", "order_index", "leaf_ndims", "marker_ndim")

    def __init__(
        self,
        module: Autoregressive,
        context: Array | None = None,
        order_index: int | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
        keep: Array | None = None,
    ):
        self.params, self.static = eqx.partition(module, eqx.is_array)
        context = as_context(context, module.network)
        self.context, self.order_index, self.rng_key = context, order_index, None
        self.keep = None if keep is None else check_keep(jnp.asarray(keep), module)
        batch_shape = tuple(batch_shape)
        if keep is not None:
            batch_shape = jnp.broadcast_shapes(self.keep.shape[:-1], batch_shape)
        if context is not None:
            leading = context.shape[: context.ndim - len(module.network.context_shape)]
            batch_shape = jnp.broadcast_shapes(leading, batch_shape)
        elif module.context_dim:
            module.network.features(None)
        # an array of the batch shape: it shows axes stacked in front by vmap and scan
        self.marker, self.marker_ndim = jnp.zeros(batch_shape), len(batch_shape)
        super().__init__(batch_shape, module.event_shape, validate_args=validate_args)
        self.leaf_ndims = leaf_ndims(self)

    @property
    def module(self) -> Autoregressive:
        return eqx.combine(self.params, self.static)

    @property
    def has_rsample(self) -> bool:
        return False

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        support = self.static.elements.support
        return constraints.independent(support, len(self.event_shape) - support.event_dim)

    @property
    def indices(self) -> tuple[int, ...]:
        """Places of the orders in use."""
        if self.order_index is not None:
            return (self.order_index,)
        return tuple(range(len(self.static.orders)))

    def expand(self, batch_shape) -> Distribution:
        batch_shape = tuple(batch_shape)
        if batch_shape == self.batch_shape or stack_depth(self):
            return super().expand(batch_shape)
        d = AutoregressiveDistribution(
            self.module,
            self.context,
            self.order_index,
            batch_shape,
            self._validate_args,
            self.keep,
        )
        return with_dropout(d, self.rng_key)

    def as_transform(self) -> AutoregressiveTransform:
        r"""Return the flow of this density: the map of standard normal noise to its values.

        Its inverse is one pass, its forward direction one step a position.

        Raises:
            TypeError: if the conditional has no such map: its values are not real, say.
            ValueError: if there are several orders.
        """
        return AutoregressiveTransform(with_dropout(self, None))

    def sample(self, key: Array, sample_shape=()) -> Array:
        return self.sample_from_slice(key, tuple(sample_shape))[0]

    def sample_with_intermediates(self, key: Array, sample_shape=()) -> tuple[Array, list[Array]]:
        """Return a sample and, in a list, its log-density."""
        x, log_prob = self.sample_from_slice(key, tuple(sample_shape))
        return x, [log_prob]

    @validate_sample
    def log_prob(self, value: Array, intermediates: list[Array] | None = None) -> Array:
        return intermediates[0] if intermediates else self.log_prob_of_slice(jnp.asarray(value))

    def sample_given(
        self, rng_key: Array, mask: Array, values: Array, sample_shape=(), num_particles: int = 1
    ) -> GivenSample:
        """Draw the other entries given some, with the weight that makes the draws honest.

        The order is followed; given entries keep their values, and the weight of a draw is the
        product of their conditional probabilities. Its mean is the probability of the given
        entries, and draws reweighted by it are posterior draws. Where the given entries come first
        in the order, all weights are equal and the draws are exact.

        Args:
            rng_key: random key.
            mask: booleans, known values, of the event shape, True where the entry is given.
            values: values of shape broadcastable to ``batch_shape + event_shape``; those where the
                mask is False are not read.
            sample_shape: shape of the draws.
            num_particles: draws made for each one, of which one is kept, drawn by the weights
                (sampling importance resampling); ``log_weight`` is then the log of their mean.

        Returns:
            :class:`GivenSample`.
        """
        module, num_particles = self.module, check_positive_int("num_particles", num_particles)
        mask = np.broadcast_to(np.asarray(mask, bool), self.event_shape)
        mask = check_mask(np.asarray(module.elements.split(mask)))
        values = jnp.broadcast_to(values, self.batch_shape + self.event_shape)
        orders = [np.asarray(module.orders[index]) for index in self.indices]
        # given entries come first in every order
        first = all((np.diff(mask[order].astype(int)) <= 0).all() for order in orders)
        is_exact = first and len(orders) == 1
        draw_key, choice_key = jax.random.split(rng_key)
        shape = (num_particles, *sample_shape)
        value, _, log_weight = apply(draw, self, draw_key, shape, tuple(mask.tolist()), values)
        chosen = jax.random.categorical(choice_key, log_weight, axis=0)[None]
        chosen = chosen.reshape(chosen.shape + (1,) * len(self.event_shape))
        value = jnp.take_along_axis(value, chosen, 0)[0]
        log_weight = logsumexp(log_weight, axis=0) - math.log(num_particles)
        return GivenSample(value, log_weight, is_exact)

    def sample_from_slice(self, rng_key: Array, sample_shape) -> tuple[Array, Array]:
        if stack_depth(self):
            return sample_from_stack(self, rng_key, sample_shape)
        self = with_dropout(self, None)
        stopped = jax.tree.map(lax.stop_gradient, self)
        value, log_prob, _ = apply(draw, stopped, rng_key, sample_shape, None, None)
        value = lax.stop_gradient(value)
        if len(self.indices) > 1:
            return value, self.log_prob_of_slice(value)
        return value, scored(self, value, lax.stop_gradient(log_prob))

    def log_prob_of_slice(self, value: Array) -> Array:
        if stack_depth(self):
            return log_prob_of_stack(self, value)
        return apply(log_prob_of, self, value)


def with_dropout(
    d: AutoregressiveDistribution, rng_key: Array | None
) -> AutoregressiveDistribution:
    """Return the distribution whose densities take this key of dropout, if the network has it."""
    if not getattr(d.static.network, "dropout", 0.0):
        return d
    found = copy.copy(d)
    found.rng_key = rng_key
    found.leaf_ndims = leaf_ndims(found)
    return found


@vmap_over.register
def _vmap_over_autoregressive(d: AutoregressiveDistribution, params=None, context=None, keep=None):
    axes = copy.copy(d)
    axes.params, axes.context, axes.keep, axes.rng_key = params, context, keep, None
    axes.marker = None if params is None and context is None and keep is None else 0
    return axes


@promote_batch_shape.register
def _promote_batch_shape_of_autoregressive(d: AutoregressiveDistribution):
    promoted = copy.copy(d)
    promoted._batch_shape = jnp.shape(d.marker)
    return promoted
