"""Sum-of-squares polynomials as elementwise maps."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ..._numerics.checks import check_positive, check_positive_int
from .integral import IntegralMap
from .mixture_logistic import component_factors

__all__ = ["SumOfSquaresMap"]

MIN_SLOPE = 1e-3


@dataclass(frozen=True)
class SumOfSquaresMap(IntegralMap):
    r"""The map :math:`y = b + \int_0^x \epsilon + \sum_k (\sum_r a_{kr} (t / B)^r)^2 \, dt`.

    On ``[-B, B]`` it is a polynomial of degree ``2 R + 1``, integrated exactly; outside it goes on
    linearly, with a continuous slope; :math:`\epsilon = 10^{-3}`. Closed form forward, numerical
    inverse. Zero parameters give the identity; what makes polynomial ``k`` is the raw parameter
    times a factor of its own between ``0.5 / K`` and ``1.5 / K``, so that polynomials that start
    equal do not stay equal, and a step of an optimiser changes the slope gently whatever ``K``.
    Keep the data well inside the interval: towards its ends the polynomials are free.

    Args:
        num_polynomials: number ``K`` of squares; the map has ``1 + K (R + 1)`` parameters.
        degree: degree ``R`` of each polynomial.
        bound: half-width ``B`` of the interval, positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import Elementwise
        >>> transform = Elementwise(jax.random.key(0), 2, SumOfSquaresMap())
        >>> transform.inv(jnp.array([0.5, 1e3])).tolist()
        [0.5, 1000.0]

    References:
        Jaini et al. 2019, Sum-of-Squares Polynomial Flow, equation 8.
    """

    num_polynomials: int = 3
    degree: int = 4
    bound: float = 10.0

    def __post_init__(self):
        check_positive_int("num_polynomials", self.num_polynomials)
        check_positive_int("degree", self.degree)
        check_positive("bound", self.bound)

    @property
    def num_params(self) -> int:
        return 1 + self.num_polynomials * (self.degree + 1)

    @property
    def num_nodes(self) -> int:
        # exact for the square of a polynomial of this degree
        return self.degree + 1

    def slope(self, t: Array, params: Array) -> Array:
        count = self.num_polynomials
        factors = component_factors(count, params)[:, None, None] / count
        shape = params.shape[:-2] + (count, self.degree + 1) + params.shape[-1:]
        coefficients = params.reshape(shape) * factors
        # Horner's rule; the constants start where the squares add up to 1 - MIN_SLOPE
        *lower, value = (coefficients[..., r : r + 1, :] for r in range(self.degree + 1))
        lower[0] = lower[0] + ((1.0 - MIN_SLOPE) / count) ** 0.5
        point = (t / self.bound)[..., None, :, :]
        for coefficient in reversed(lower):
            value = value * point + coefficient
        return MIN_SLOPE + jnp.square(value).sum(-3)
