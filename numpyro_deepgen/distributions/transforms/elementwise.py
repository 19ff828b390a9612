r"""Elementwise maps: bijections of the line whose parameters come from elsewhere.

A map is a small immutable description. Its parameters arrive as an array ``(..., P, D)``
(parameters-major), learned directly (:class:`Elementwise`), or computed by a network from other
inputs (couplings, masked autoregressive transforms). All-zero parameters give the identity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ..._numerics.checks import check_positive, check_positive_int
from ...nn import ConditionalParameters
from ...ops.splines import MIN_BIN_SIZE, rational_quadratic_spline
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
    A map is hashable, or a pytree if it holds arrays.
    """

    num_params: int

    def forward_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def inverse_and_log_det(self, y: Array, params: Array) -> tuple[Array, Array]:
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

    def _loc_and_log_scale(self, params: Array) -> tuple[Array, Array]:
        bound = self.max_log_scale
        return params[..., 0, :], bound * jnp.tanh(params[..., 1, :] / bound)

    def forward_and_log_det(self, x, params):
        loc, log_scale = self._loc_and_log_scale(params)
        y = x * jnp.exp(log_scale) + loc
        return y, jnp.broadcast_to(log_scale, y.shape)

    def inverse_and_log_det(self, y, params):
        loc, log_scale = self._loc_and_log_scale(params)
        x = (y - loc) * jnp.exp(-log_scale)
        return x, jnp.broadcast_to(-log_scale, x.shape)


@dataclass(frozen=True)
class RationalQuadraticMap(ElementwiseMap):
    r"""A monotone rational-quadratic spline on ``[-bound, bound]`` with identity tails.

    Args:
        num_bins: number ``K`` of bins, 2 to 500; the map has ``3 K - 1`` parameters.
        bound: half-width of the interval, positive.

    References:
        Durkan et al. 2019, Neural Spline Flows, section 3.1.
    """

    num_bins: int = 8
    bound: float = 5.0

    def __post_init__(self):
        check_positive_int("num_bins", self.num_bins, minimum=2)
        check_positive("bound", self.bound)
        if self.num_bins * MIN_BIN_SIZE > 0.5:
            raise ValueError(f"num_bins must be at most 500, got {self.num_bins}; use fewer bins.")

    @property
    def num_params(self) -> int:
        return 3 * self.num_bins - 1

    def _evaluate(self, point: Array, params: Array, inverse: bool) -> tuple[Array, Array]:
        ends = [self.num_bins, 2 * self.num_bins]
        return rational_quadratic_spline(point, *jnp.split(params, ends, -2), self.bound, inverse)

    def forward_and_log_det(self, x, params):
        return self._evaluate(x, params, inverse=False)

    def inverse_and_log_det(self, y, params):
        return self._evaluate(y, params, inverse=True)


class Elementwise(Transform):
    r"""One elementwise map per input, :math:`y_i = f(x_i; \theta_i)`, any batch shape.

    Both directions cost one evaluation of the map. With a context, :math:`\theta` is a learned
    vector plus a network of the context.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        elementwise: the map, an :class:`ElementwiseMap`.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        init: starting parameters, ``(num_params, D)``; default zeros, the identity.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> transform = Elementwise(jax.random.key(0), 3, RationalQuadraticMap(num_bins=4))
        >>> transform(jnp.ones((2, 3))).shape
        (2, 3)
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        elementwise: ElementwiseMap,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        init: Array | None = None,
    ):
        super().__init__(input_dim, context_dim)
        self.elementwise = elementwise
        size = elementwise.num_params * self.input_dim
        if init is not None:
            init = jnp.asarray(init).reshape(size)
        self.parameter_net = ConditionalParameters(
            rng_key, size, context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Array | None) -> Array:
        params = self.parameter_net(context)
        return params.reshape(params.shape[:-1] + (self.elementwise.num_params, self.input_dim))

    def forward_and_log_det(self, x, context=None):
        y, log_det = self.elementwise.forward_and_log_det(x, self._params(context))
        return y, log_det.sum(-1)

    def inverse_and_log_det(self, y, context=None):
        x, log_det = self.elementwise.inverse_and_log_det(y, self._params(context))
        return x, log_det.sum(-1)


class ElementwiseAffine(Elementwise):
    r"""A location-scale layer :math:`y = e^{s} \odot x + t`, :math:`|s| < 30`.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> ElementwiseAffine(jax.random.key(0), 2)(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        elementwise = AffineMap(max_log_scale=30.0)
        super().__init__(rng_key, input_dim, elementwise, context_dim, hidden_dims, activation)


class RationalQuadraticSpline(Elementwise):
    r"""An elementwise rational-quadratic spline with learned knots and slopes.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        num_bins: bins of each spline, 2 to 500.
        bound: half-width of the interval that the bins cover; the identity outside.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> RationalQuadraticSpline(jax.random.key(0), 2)(jnp.array([0.0, 9.0])).tolist()
        [0.0, 9.0]

    References:
        Durkan et al. 2019, Neural Spline Flows, equations 4-8.
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        num_bins: int = 8,
        bound: float = 5.0,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        elementwise = RationalQuadraticMap(num_bins, bound)
        super().__init__(rng_key, input_dim, elementwise, context_dim, hidden_dims, activation)
