"""Elementwise maps without a closed inverse."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from ...ops.root_finding import expand_bracket, monotone_root
from .elementwise import ElementwiseMap

__all__ = ["NumericalMap", "numerical_inverse"]


class NumericalMap(ElementwiseMap):
    """An elementwise map whose inverse is a root: expanding bracket, then safeguarded Newton.

    Subclasses write ``forward_and_log_det``, an increasing map onto the line. The inverse is exact
    to rounding at any distance from the origin, and its derivatives in the point and the parameters
    are implicit.
    """

    def inverse_and_log_det(self, y, params):
        return numerical_inverse(self.forward_and_log_det, y, params)


def numerical_inverse(
    forward_and_log_det: Callable[[Array, Array], tuple[Array, Array]],
    y: Array,
    params: Array,
) -> tuple[Array, Array]:
    """Invert an increasing elementwise map onto the line.

    Args:
        forward_and_log_det: maps points and parameters to the image and its log-derivative.
        y: points, ``batch_shape + (D,)``.
        params: shape broadcastable to ``batch_shape + (num_params, D)``.

    Returns:
        The preimage and its log-derivative, both of the broadcast shape of points.
    """

    def residual(x):
        image, log_det = forward_and_log_det(x, params)
        return image - y, jnp.exp(log_det)

    shape = jnp.broadcast_shapes(y.shape, params.shape[:-2] + params.shape[-1:])
    lower, upper = expand_bracket(residual, jnp.broadcast_to(y, shape))
    x = monotone_root(residual, lower, upper)
    return x, -forward_and_log_det(x, params)[1]
