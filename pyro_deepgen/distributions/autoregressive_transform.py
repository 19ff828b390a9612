r"""The flow of an autoregressive density of real numbers.

.. math::
    x_{o(t)} = F^{-1}\big(\Phi(u_{o(t)}) \,\big|\, x_{o(0)}, \ldots, x_{o(t-1)}, c\big)

maps standard normal noise to draws, with the distribution functions :math:`F` of the conditionals.
"""

from collections.abc import Sequence

import torch
from pyro.distributions import constraints
from torch import Tensor, nn

from ._autoregressive_passes import Steps, evaluating, params_of, rows_of
from ._elements import check_has_noise
from .transforms._host import without_graph
from .transforms._implicit import triangular_inverse
from .transforms.base import held_tensors, tensor_versions

__all__ = ["AutoregressiveTransform"]


class AutoregressiveTransform(torch.distributions.Transform):
    r"""The transform of an :class:`AutoregressiveDistribution`, from noise to values.

    A standard normal distribution of the event shape pushed through it is the distribution itself.
    The inverse direction, from values to noise, is one pass; the forward direction takes one step
    a position, as sampling does, and a root of a scalar function where the conditional has no
    closed form. Its gradients are implicit, first derivatives only. The distribution's context is
    bound; its parameters are those of the module that it came from.

    Args:
        distribution: one with a conditional of real numbers, or a normal vector, and one order.

    Raises:
        TypeError: if the conditional is another one.
        ValueError: if there are several orders.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> from pyro_deepgen.distributions import made
        >>> from pyro_deepgen.distributions.conditionals import NormalConditional
        >>> d = made((3,), NormalConditional(), (8,))()
        >>> noise = dist.Normal(torch.zeros(3), 1.0).to_event(1)
        >>> flow = dist.TransformedDistribution(noise, [d.as_transform()])
        >>> x = flow.rsample()
        >>> torch.allclose(flow.log_prob(x), d.log_prob(x), atol=1e-5)
        True
    """

    bijective = True
    fast = "inverse"

    def __init__(self, distribution):
        indices = distribution._indices
        check_has_noise(distribution.module.conditional)
        if len(indices) > 1:
            raise ValueError(
                f"distribution must have one order for a transform, got {len(indices)}; call the "
                "module with order_index=0, say."
            )
        super().__init__()
        self.distribution, self.index = distribution, indices[0]
        domain = constraints.independent(constraints.real, len(distribution.event_shape))
        self.domain = self.codomain = domain
        self._last = None

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of noise, and the log-determinant; one step a position."""
        d = self.distribution
        context = d.context
        bound = None
        if context is not None and not context.is_floating_point():
            # a label, of which there are no derivatives
            context, bound = None, context
        image = _Noise(d.module, self.index, d.keep, bound)

        def solve(u, context):
            return self._solve(u, bound if context is None else context)

        flat = self._flat(x)
        if not flat.numel():
            return self._joined(flat), flat.sum(-1)
        y, log_det = triangular_inverse(solve, image, flat, context)
        return self._joined(y), log_det

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise of values, and the log-determinant of the inverse; one pass."""
        d = self.distribution
        flat = self._flat(y)
        if not flat.numel():
            return self._joined(flat), flat.sum(-1)
        u, log_slopes = _Noise(d.module, self.index, d.keep, None)(flat, d.context)
        return self._joined(u), log_slopes.sum(-1)

    def _solve(self, u: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        d, module, shape = self.distribution, self.distribution.module, u.shape[:-1]
        u = u.reshape((shape.numel(), -1, *module.conditional.event_shape))
        context = rows_of(context, shape, len(module.network.context_shape))
        steps = Steps(module, len(u), context, self.index, rows_of(d.keep, shape, 1))
        found, slopes = {}, {}
        for rank, place in enumerate(module.orders[self.index]):
            params = steps.params(rank)
            found[place], slopes[place] = module.conditional.from_noise(params, u[:, place])
            steps.give(found[place], rank)
        places = range(len(found))
        return tuple(
            torch.stack([parts[i] for i in places], 1).reshape((*shape, -1))
            for parts in (found, slopes)
        )

    def _flat(self, x: Tensor) -> Tensor:
        """Return points ``(..., *event_shape)`` as ``(..., D)``, position by position."""
        event_shape = self.distribution.event_shape
        if x.shape[x.ndim - len(event_shape) :] != event_shape:
            raise ValueError(
                f"points must have shape (...) + {tuple(event_shape)}, got {tuple(x.shape)}; see "
                "event_shape of the distribution."
            )
        shape = self._broadcast_shape(x.shape)
        elements = self.distribution.module.elements.split(x.expand(shape))
        return elements.reshape(shape[: len(shape) - len(event_shape)] + (event_shape.numel(),))

    def _joined(self, flat: Tensor) -> Tensor:
        module = self.distribution.module
        shape = flat.shape[:-1] + (module.elements.num_positions, *module.conditional.event_shape)
        return module.elements.join(flat.reshape(shape))

    def with_cache(self, cache_size: int = 1) -> "AutoregressiveTransform":
        """Return the transform itself: caches would outlive parameter updates."""
        return self

    def _call(self, x: Tensor) -> Tensor:
        y, log_det = self.forward_and_log_det(x)
        self._last = (x, y, self._state(x, y), log_det)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x, log_det = self.inverse_and_log_det(y)
        self._last = (x, y, self._state(x, y), -log_det)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log-determinant: that of the last evaluation of these points, or anew."""
        last, self._last = self._last, None
        if last is not None and last[0] is x and last[1] is y and last[2] == self._state(x, y):
            return last[3]
        return -self.inverse_and_log_det(y)[1]

    def _state(self, *points: Tensor) -> tuple:
        d = self.distribution
        context = () if d.context is None else (d.context,)
        return tensor_versions(*points, *context, *held_tensors(d.module))

    def __getstate__(self) -> dict:
        held = {"distribution": without_graph(self.distribution), "_last": None}
        return {**super().__getstate__(), **held}

    def __hash__(self) -> int:
        return id(self)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._broadcast_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._broadcast_shape(shape)

    def _broadcast_shape(self, shape: Sequence[int]) -> torch.Size:
        d = self.distribution
        return torch.broadcast_shapes(shape, d.batch_shape + d.event_shape)


class _Noise(nn.Module):
    """The noise of values and the elementwise log-derivatives, a module of the parameters."""

    def __init__(self, module: nn.Module, index: int, keep: Tensor | None, context: Tensor | None):
        super().__init__()
        self.module, self.index, self.keep, self.context = module, index, keep, context

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        module = self.module
        context = self.context if context is None else context
        shape = (module.elements.num_positions, *module.conditional.event_shape)
        elements = x.reshape(x.shape[:-1] + shape)
        # one map, whatever the mode: no units are dropped, as none are by steps
        with evaluating(module.network):
            params = params_of(module, elements, context, self.index, self.keep)
        u, log_slopes = module.conditional.to_noise(params, elements)
        return u.reshape(x.shape), log_slopes.reshape(x.shape)
