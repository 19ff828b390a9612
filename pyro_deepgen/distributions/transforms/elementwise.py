r"""Elementwise maps: bijections of the line whose parameters come from elsewhere.

A map is a small immutable description. Its parameters arrive as an array ``(..., P, D)``
(parameters-major), learned directly (:class:`Elementwise`), or computed by a network from other
inputs (couplings, masked autoregressive transforms). All-zero parameters give the identity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pyro.distributions import constraints
from torch import Tensor

from ..._numerics.checks import check_choice, check_positive, check_positive_int
from ...nn import ConditionalParameters
from ...ops._bounded_affine import bounded_affine
from ...ops.splines import MIN_BIN_SIZE, packed_spline
from .base import Transform

__all__ = [
    "AffineMap",
    "Elementwise",
    "ElementwiseAffine",
    "ElementwiseMap",
    "RationalQuadraticMap",
    "RationalQuadraticSpline",
]


class ElementwiseMap:
    """Interface of an increasing bijection of the line with ``num_params`` parameters.

    Both methods take points ``batch_shape + (D,)`` and parameters broadcastable to
    ``batch_shape + (num_params, D)``, and return the image and the elementwise log-derivative.

    Attributes:
        num_params: parameters of one input.
        num_free: how many of them, the first ones, leave the identity as it is where all others are
            zero. Transforms start these at random, so that components that start equal differ.
        support: constraint of each input and each output, the line unless a map says otherwise.
    """

    num_params: int
    num_free: int = 0
    support = constraints.real

    def forward_and_log_det(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse_and_log_det(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


@dataclass(frozen=True)
class AffineMap(ElementwiseMap):
    r"""The map :math:`y = e^{s} x + t`, with :math:`s = m \tanh(a / m)`.

    Args:
        max_log_scale: bound ``m`` of the log-scale, positive; parameters are ``(t, a)``.
    """

    max_log_scale: float = 7.0

    def __post_init__(self):
        check_positive("max_log_scale", self.max_log_scale)

    @property
    def num_params(self) -> int:
        return 2

    def forward_and_log_det(self, x, params):
        return bounded_affine(x, params, self.max_log_scale)

    def inverse_and_log_det(self, y, params):
        return bounded_affine(y, params, self.max_log_scale, inverse=True)


@dataclass(frozen=True)
class RationalQuadraticMap(ElementwiseMap):
    r"""A monotone rational-quadratic spline of ``[-bound, bound]``.

    With ``tails='linear'`` the spline continues as the identity outside the interval, with slope 1
    at its ends (``3 K - 1`` parameters). With ``'bounded'`` it is a bijection of the interval and
    the slopes at the ends are learned too (``3 K + 1``). With ``'circular'`` it is a bijection of
    the circle of circumference ``2 * bound``: the slopes at the ends are equal, and a learned
    rotation follows (``3 K + 1``); all points are taken modulo the circumference.

    Args:
        num_bins: number ``K`` of bins, 2 to 500.
        bound: half-width of the interval, positive.
        tails: ``'linear'``, ``'bounded'`` or ``'circular'``.

    References:
        Durkan et al. 2019, Neural Spline Flows, section 3.1; Rezende et al. 2020, Normalizing Flows
        on Tori and Spheres, sections 2.1.2 and 2.1.3.
    """

    num_bins: int = 8
    bound: float = 5.0
    tails: str = "linear"

    def __post_init__(self):
        check_choice("tails", self.tails, ("linear", "bounded", "circular"))
        check_positive_int("num_bins", self.num_bins, minimum=2)
        check_positive("bound", self.bound)
        if self.num_bins * MIN_BIN_SIZE > 0.5:
            raise ValueError(f"num_bins must be at most 500, got {self.num_bins}; use fewer bins.")

    @property
    def num_params(self) -> int:
        return 3 * self.num_bins + (-1 if self.tails == "linear" else 1)

    @property
    def support(self) -> constraints.Constraint:
        if self.tails == "linear":
            return constraints.real
        return constraints.interval(-self.bound, self.bound)

    def _evaluate(self, point: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return packed_spline(point, params, self.num_bins, self.bound, inverse)

    def _wrap(self, point: Tensor) -> Tensor:
        period = 2.0 * self.bound
        return point - period * torch.floor((point + self.bound) / period)

    def forward_and_log_det(self, x, params):
        if self.tails != "circular":
            return self._evaluate(x, params, inverse=False)
        params, shift = _circular(params)
        y, log_det = self._evaluate(self._wrap(x), params, inverse=False)
        return self._wrap(y + shift), log_det

    def inverse_and_log_det(self, y, params):
        if self.tails != "circular":
            return self._evaluate(y, params, inverse=True)
        params, shift = _circular(params)
        return self._evaluate(self._wrap(y - shift), params, inverse=True)


def _circular(params: Tensor) -> tuple[Tensor, Tensor]:
    """Split off the rotation, the last row, and repeat the first slope at the other end."""
    num_bins = params.shape[-2] // 3
    params, shift = params[..., :-1, :], params[..., -1, :]
    first_slope = params[..., 2 * num_bins : 2 * num_bins + 1, :]
    return torch.cat([params, first_slope], -2), shift


def vector_support(elementwise: ElementwiseMap) -> constraints.Constraint:
    """Return the constraint of vectors whose entries lie in the support of a map."""
    if elementwise.support is constraints.real:
        return constraints.real_vector
    return constraints.independent(elementwise.support, 1)


@torch.no_grad()
def start_free(
    elementwise: ElementwiseMap, num_inputs: int, bias: Tensor, weight: Tensor | None = None
) -> None:
    """Start what a map leaves free at random, in place; the rest of the layer stays as it is.

    Args:
        elementwise: the map.
        num_inputs: number ``D`` of inputs that are mapped.
        bias: raw parameters, ``(num_params * D,)``, parameters-major.
        weight: weight of the layer that computes them, ``(num_params * D, width)``.
    """
    rows = elementwise.num_free * num_inputs
    bias[:rows].normal_()
    if weight is not None:
        # activations of a fresh network are a fraction of one in size
        weight[:rows].normal_(std=4.0 / weight.shape[1] ** 0.5)


class Elementwise(Transform):
    r"""One elementwise map per input, :math:`y_i = f(x_i; \theta_i)`, any batch shape.

    Both directions cost one evaluation of the map. With a context, :math:`\theta` is a learned
    vector plus a network of the context.

    Args:
        input_dim: number ``D`` of inputs.
        elementwise: the map, an :class:`ElementwiseMap`.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        init: starting parameters, ``(num_params, D)``; default the identity.

    Example:
        >>> import torch
        >>> transform = Elementwise(3, RationalQuadraticMap(num_bins=4))
        >>> transform(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        input_dim: int,
        elementwise: ElementwiseMap,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        init: Tensor | None = None,
    ):
        super().__init__(input_dim, context_dim)
        self.elementwise = elementwise
        size = elementwise.num_params * self.input_dim
        if init is not None:
            init = init.reshape(size)
        self.parameter_net = ConditionalParameters(size, context_dim, hidden_dims, activation, init)
        if init is None:
            start_free(elementwise, self.input_dim, self.parameter_net.bias)

    @property
    def domain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    @property
    def codomain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    def _params(self, context: Tensor | None) -> Tensor:
        params = self.parameter_net(context)
        return params.unflatten(-1, (self.elementwise.num_params, self.input_dim))

    def forward_and_log_det(self, x, context=None):
        y, log_det = self.elementwise.forward_and_log_det(x, self._params(context))
        return y, log_det.sum(-1)

    def inverse_and_log_det(self, y, context=None):
        x, log_det = self.elementwise.inverse_and_log_det(y, self._params(context))
        return x, log_det.sum(-1)


class ElementwiseAffine(Elementwise):
    r"""A location-scale layer :math:`y = e^{s} \odot x + t`, :math:`|s| < 30`.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> ElementwiseAffine(2)(torch.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        elementwise = AffineMap(max_log_scale=30.0)
        super().__init__(input_dim, elementwise, context_dim, hidden_dims, activation)


class RationalQuadraticSpline(Elementwise):
    r"""An elementwise rational-quadratic spline with learned knots and slopes.

    Args:
        input_dim: number ``D`` of inputs.
        num_bins: bins of each spline, 2 to 500.
        bound: half-width of the interval that the bins cover; the identity outside.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> RationalQuadraticSpline(2)(torch.tensor([0.0, 9.0])).tolist()
        [0.0, 9.0]

    References:
        Durkan et al. 2019, Neural Spline Flows, equations 4-8.
    """

    def __init__(
        self,
        input_dim: int,
        num_bins: int = 8,
        bound: float = 5.0,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        elementwise = RationalQuadraticMap(num_bins, bound)
        super().__init__(input_dim, elementwise, context_dim, hidden_dims, activation)
