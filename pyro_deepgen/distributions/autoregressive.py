r"""Autoregressive networks as distributions.

.. math::
    p(x | c) = \prod_t p\big(x_{o(t)} \,\big|\, x_{o(0)}, \ldots, x_{o(t-1)}, c\big)

for an order :math:`o` of the positions, each factor a distribution whose parameters a network
gives for all positions in one pass. With several orders :math:`o_1, \ldots, o_M` it is the mixture
:math:`\frac{1}{M} \sum_m p_m(x | c)` of probabilities: a mean of the networks' outputs would see
every position and give no probability.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from .._numerics.checks import check_positive_int
from .._numerics.orders import resolve_orders
from ..nn.autoregressive_network import as_context
from ._autoregressive_passes import Steps, params_of, rows_of
from ._elements import Elements, check_event_shape, check_keep, check_mask
from .autoregressive_transform import AutoregressiveTransform
from .conditionals import Conditional
from .transforms._host import without_graph
from .transforms.base import held_tensors, tensor_versions

__all__ = ["Autoregressive", "AutoregressiveDistribution", "GivenSample"]


class GivenSample(NamedTuple):
    """Draws given some of the entries.

    Args:
        value: the draws.
        log_weight: of every draw, an unbiased estimate's log of the probability of what was given.
        is_exact: whether the draws are from the posterior as they are, and the weight is exact.
    """

    value: Tensor
    log_weight: Tensor
    is_exact: bool


class Autoregressive(nn.Module):
    r"""A network, what its parameters mean, and the order of the positions.

    Args:
        network: an :class:`~pyro_deepgen.nn.AutoregressiveNetwork`, or any module with its
            attributes and call. Its positions are visited from the first to the last: under another
            order it sees the positions as they are visited. A network with an attribute ``orders``
            (:class:`~pyro_deepgen.nn.MADE`, :class:`~pyro_deepgen.nn.VideoTransformer`) brings its
            own, and is given positions in their natural places.
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
        >>> import torch
        >>> from pyro_deepgen.distributions.conditionals import BernoulliConditional
        >>> from pyro_deepgen.nn import MADE
        >>> module = Autoregressive(MADE(4, context_dim=2), BernoulliConditional(), (2, 2))
        >>> d = module(torch.zeros(5, 2))
        >>> d.batch_shape, d.event_shape
        (torch.Size([5]), torch.Size([2, 2]))
    """

    def __init__(
        self,
        network: nn.Module,
        conditional: Conditional,
        event_shape: Sequence[int],
        order: str | Sequence = "raster",
    ):
        super().__init__()
        self.network, self.conditional = network, conditional
        self.event_shape = check_event_shape(network, conditional, event_shape)
        self.knows_orders = hasattr(network, "orders")
        grid_shape = self.event_shape[len(conditional.event_shape) :]
        self.orders = network.orders if self.knows_orders else resolve_orders(order, grid_shape)
        self.elements = Elements(conditional, self.event_shape, network.in_channels)

    @property
    def context_dim(self) -> int:
        return self.network.context_dim

    def forward(
        self,
        context: Tensor | None = None,
        order_index: int | None = None,
        keep: Tensor | None = None,
    ) -> "AutoregressiveDistribution":
        """Return the distribution given a context.

        Args:
            context: shape ``batch_shape + network.context_shape``, or None.
            order_index: which one of several orders to use alone; default the mixture of all.
            keep: booleans of shape ``batch_shape + (positions,)``, False where later positions do
                not see the element: the network is given zeros for it. None to keep all.
        """
        return AutoregressiveDistribution(self, context, order_index, keep=keep)


class AutoregressiveDistribution(TorchDistribution):
    r"""The distribution from calling an :class:`Autoregressive`.

    Densities take one pass of the network; samples one step of it a position, with what is known
    kept in a cache, and the density of a sample comes with it. Samples are not reparameterised.

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
    has_rsample = False

    def __init__(
        self,
        module: Autoregressive,
        context: Tensor | None = None,
        order_index: int | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
        keep: Tensor | None = None,
    ):
        context = as_context(context, module.network)
        self.module, self.context, self.order_index = module, context, order_index
        self.keep = check_keep(keep, module)
        if keep is not None:
            batch_shape = torch.broadcast_shapes(keep.shape[:-1], tuple(batch_shape))
        if context is not None:
            event_dim = len(module.network.context_shape)
            leading = context.shape[: context.ndim - event_dim]
            batch_shape = torch.broadcast_shapes(leading, tuple(batch_shape))
        elif module.context_dim:
            module.network.features(None)
        indices = range(len(module.orders)) if order_index is None else (order_index,)
        self._indices = tuple(indices)
        self._scored_sample = None
        super().__init__(
            torch.Size(batch_shape), torch.Size(module.event_shape), validate_args=validate_args
        )

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        support = self.module.elements.support
        return constraints.independent(support, len(self.event_shape) - support.event_dim)

    def expand(self, batch_shape, _instance=None) -> "AutoregressiveDistribution":
        return AutoregressiveDistribution(
            self.module,
            self.context,
            self.order_index,
            batch_shape,
            self._validate_args,
            self.keep,
        )

    def as_transform(self) -> AutoregressiveTransform:
        r"""Return the flow of this density: the map of standard normal noise to its values.

        Its inverse is one pass, its forward direction one step a position.

        Raises:
            TypeError: if the conditional has no such map: its values are not real, say.
            ValueError: if there are several orders.
        """
        return AutoregressiveTransform(self)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        known = self._recall(value)
        if known is not None:
            return known
        terms = torch.stack([self._log_prob(value, index) for index in self._indices])
        log_prob = terms[0] if len(terms) == 1 else terms.logsumexp(0) - math.log(len(terms))
        leading = value.shape[: value.ndim - len(self.event_shape)]
        return log_prob.expand(torch.broadcast_shapes(leading, self.batch_shape))

    def _log_prob(self, value: Tensor, index: int) -> Tensor:
        module, elements = self.module, self.module.elements.split(value)
        params = params_of(module, elements, self.context, index, self.keep)
        return module.conditional(params).log_prob(elements).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape=()) -> Tensor:
        value, log_prob, _ = self._draw(torch.Size(sample_shape))
        if len(self._indices) == 1 and not torch.compiler.is_compiling():
            self._scored_sample = (value, self._state(value), log_prob)
        return value

    @torch.no_grad()
    def sample_given(
        self, mask: Tensor, values: Tensor, sample_shape=(), num_particles: int = 1
    ) -> GivenSample:
        """Draw the other entries given some, with the weight that makes the draws honest.

        The order is followed; given entries keep their values, and the weight of a draw is the
        product of their conditional probabilities. Its mean is the probability of the given
        entries, and draws reweighted by it are posterior draws. Where the given entries come first
        in the order, all weights are equal and the draws are exact.

        Args:
            mask: booleans of the event shape, True where the entry is given.
            values: values of shape broadcastable to ``batch_shape + event_shape``; those where the
                mask is False are not read.
            sample_shape: shape of the draws.
            num_particles: draws made for each one, of which one is kept, drawn by the weights
                (sampling importance resampling); ``log_weight`` is then the log of their mean.

        Returns:
            :class:`GivenSample`.
        """
        module, num_particles = self.module, check_positive_int("num_particles", num_particles)
        # read entry by entry
        mask = check_mask(module.elements.split(mask.cpu().expand(self.event_shape)))
        values = values.expand(self.batch_shape + self.event_shape)
        shape = (num_particles, *sample_shape)
        value, _, log_weight = self._draw(torch.Size(shape), mask, values)
        places = [torch.tensor(module.orders[index]) for index in self._indices]
        # given entries come first in every order
        first = all(bool((mask[order].long().diff() <= 0).all()) for order in places)
        is_exact = first and len(places) == 1
        chosen = torch.distributions.Categorical(logits=log_weight.movedim(0, -1)).sample()
        chosen = chosen.reshape((1, *chosen.shape, *(1,) * len(self.event_shape)))
        value = value.gather(0, chosen.expand(1, *value.shape[1:])).squeeze(0)
        log_weight = log_weight.logsumexp(0) - math.log(num_particles)
        return GivenSample(value, log_weight, is_exact)

    def _draw(self, sample_shape, mask=None, values=None) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples, their log-density under the orders drawn, and that of what was given."""
        shape = sample_shape + self.batch_shape
        num_rows, elements = shape.numel(), self.module.elements
        if values is not None:
            values = elements.split(values.expand(shape + self.event_shape))
            values = values.reshape((num_rows, *values.shape[-elements.ndim :]))
        drawn = torch.randint(len(self._indices), (num_rows,))
        parts, places = [], []
        for i, index in enumerate(self._indices):
            rows = (drawn == i).nonzero().squeeze(-1)
            if len(rows):
                given = None if values is None else values[rows]
                parts.append(self._draw_rows(rows, shape, index, mask, given))
                places.append(rows)
        back = torch.cat(places).argsort()
        value, log_prob, log_weight = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        value = elements.join(value).reshape(shape + self.event_shape)
        return value, log_prob.reshape(shape), log_weight.reshape(shape)

    def _draw_rows(self, rows: Tensor, shape, index: int, mask, values):
        module, num_rows = self.module, len(rows)
        context = rows_of(self.context, shape, len(module.network.context_shape))
        keep = rows_of(self.keep, shape, 1)
        context, keep = (None if a is None else a[rows] for a in (context, keep))
        steps, found = Steps(module, num_rows, context, index, keep), {}
        log_prob = log_weight = steps.previous.new_zeros(num_rows)
        for rank, place in enumerate(module.orders[index]):
            d = module.conditional(steps.params(rank))
            is_given = mask is not None and bool(mask[place])
            found[place] = values[:, place] if is_given else d.sample()
            term = d.log_prob(found[place])
            log_prob = log_prob + term
            log_weight = log_weight + term if is_given else log_weight
            steps.give(found[place], rank)
        return torch.stack([found[i] for i in range(len(found))], 1), log_prob, log_weight

    def _recall(self, value: Tensor) -> Tensor | None:
        """Return the log-density of this tensor if it is a sample whose score still holds."""
        if self._scored_sample is None or self._scored_sample[0] is not value:
            return None
        _, state, log_prob = self._scored_sample
        return log_prob if state == self._state(value) else None

    def _state(self, value: Tensor) -> tuple:
        context = () if self.context is None else (self.context,)
        return tensor_versions(value, *context, *held_tensors(self.module))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "context": without_graph(self.context), "_scored_sample": None}
