"""Elementwise splines of an interval and of a circle."""

import math
from collections.abc import Callable, Sequence

from jax import Array

from .elementwise import Elementwise, RationalQuadraticMap

__all__ = ["BoundedSpline", "CircularSpline"]


class BoundedSpline(Elementwise):
    r"""A rational-quadratic spline of :math:`[-B, B]^D`, whose slopes at the ends are learned.

    Domain and codomain are the interval; outside it the transform is the identity. For another
    interval, or the positive reals, end the flow with
    :class:`~numpyro_deepgen.distributions.transforms.ToSupport`.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        num_bins: bins of each spline, 2 to 500.
        bound: half-width ``B`` of the interval.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> BoundedSpline(jax.random.key(0), 2, bound=1.0)(jnp.array([0.0, 1.0])).tolist()
        [0.0, 1.0]

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
        elementwise = RationalQuadraticMap(num_bins, bound, "bounded")
        super().__init__(rng_key, input_dim, elementwise, context_dim, hidden_dims, activation)


class CircularSpline(Elementwise):
    r"""A rational-quadratic spline of angles in :math:`[-B, B]^D`, followed by a rotation.

    The ends are one point of the circle, where the slopes agree. Points outside the interval are
    taken modulo :math:`2 B`, and images lie in :math:`[-B, B)`.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        num_bins: bins of each spline, 2 to 500.
        bound: half the circumference of the circle, default :math:`\pi`.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> CircularSpline(jax.random.key(0), 2, bound=1.0)(jnp.array([0.25, 2.25])).tolist()
        [0.25, 0.25]

    References:
        Rezende et al. 2020, Normalizing Flows on Tori and Spheres, section 2.1.3.
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        num_bins: int = 8,
        bound: float = math.pi,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        elementwise = RationalQuadraticMap(num_bins, bound, "circular")
        super().__init__(rng_key, input_dim, elementwise, context_dim, hidden_dims, activation)
