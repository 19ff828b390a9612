"""What turns the numbers that a network gives into the distribution of one element."""

import math
from abc import ABC, abstractmethod

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import Distribution

from ...ops.gaussianize import logit_to_normal, normal_to_logit
from ...ops.root_finding import expand_bracket, monotone_root

__all__ = ["Conditional"]


class Conditional(ABC):
    r"""A family of distributions of one element, by a vector of unconstrained parameters.

    It holds no arrays and is hashable: a setting of the modules that use it. Of real elements it
    also gives the map from standard normal noise ``u``, element by element,

    .. math:: x = F^{-1}(\Phi(u)),

    with the distribution function :math:`F`. Both directions go through
    :math:`\operatorname{logit} F(x)` in log space; the one from noise finds a root. A family with
    a closed form has its own :meth:`to_noise` and :meth:`from_noise`; others write
    :meth:`log_tails` where the distribution has no ``cdf``, or an inexact one far out.

    Attributes:
        num_params: number of parameters of one element.
        event_shape: shape of one element, ``()`` or of one dimension.
    """

    event_shape: tuple[int, ...] = ()

    @property
    @abstractmethod
    def num_params(self) -> int:
        """Number of parameters of one element."""

    @abstractmethod
    def __call__(self, params: Array) -> Distribution:
        """Return the distribution, of shape ``batch_shape`` and the event shape of one element.

        Args:
            params: any real numbers, shape ``batch_shape + (num_params,)``.
        """

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        """Return parameters by which an element starts from the data of its own place.

        Args:
            x: data, shape ``(N,) + shape + event_shape``.

        Returns:
            Shape ``shape + (num_params,)``.

        Raises:
            ValueError: if the family has no such start.
        """
        raise ValueError(
            f"conditional must be a family that can start from data, got {self!r}; leave out "
            "init_data."
        )

    def log_tails(self, params: Array, x: Array) -> tuple[Array, Array]:
        r"""Return :math:`\log F(x)` and :math:`\log (1 - F(x))` of a number.

        Args:
            params: shape ``batch_shape + (num_params,)``.
            x: values, of a shape that broadcasts with ``batch_shape``.
        """
        cdf = self(params).cdf(x)
        return jnp.log(cdf), jnp.log1p(-cdf)

    def to_noise(self, params: Array, x: Array) -> tuple[Array, Array]:
        r"""Return the noise ``u`` of real values and :math:`\log |du / dx|`, number by number.

        Args:
            params: shape ``batch_shape + (num_params,)``.
            x: values, of a shape that broadcasts with ``batch_shape + event_shape``.
        """
        below, above = self.log_tails(params, x)
        u, _ = logit_to_normal(below - above)
        return u, self(params).log_prob(x) - log_normal_density(u)

    def from_noise(self, params: Array, u: Array) -> tuple[Array, Array]:
        r"""Return the values of noise ``u`` and :math:`\log |dx / du|`; see :meth:`to_noise`."""
        target, _ = normal_to_logit(u)

        def residual(x):
            below, above = self.log_tails(params, x)
            log_slope = self(params).log_prob(x) - below - above
            return below - above - target, jnp.exp(log_slope)

        shape = jnp.broadcast_shapes(u.shape, params.shape[:-1])
        lower, upper = expand_bracket(residual, jnp.broadcast_to(u, shape))
        x = monotone_root(residual, lower, upper)
        return x, log_normal_density(u) - self(params).log_prob(x)


def log_normal_density(u: Array) -> Array:
    """Return the log-density of standard normal noise."""
    return -0.5 * jnp.square(u) - 0.5 * math.log(2.0 * math.pi)
