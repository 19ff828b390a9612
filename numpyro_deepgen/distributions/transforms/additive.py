"""The additive elementwise map."""

from dataclasses import dataclass

import jax.numpy as jnp

from .elementwise import ElementwiseMap

__all__ = ["AdditiveMap"]


@dataclass(frozen=True)
class AdditiveMap(ElementwiseMap):
    r"""The map :math:`y = x + t`, which keeps volumes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import Coupling
        >>> Coupling(jax.random.key(0), 3, AdditiveMap())(jnp.ones((4, 3))).shape
        (4, 3)

    References:
        Dinh et al. 2015, NICE: Non-linear Independent Components Estimation, equation 11.
    """

    @property
    def num_params(self) -> int:
        return 1

    def forward_and_log_det(self, x, params):
        y = x + params[..., 0, :]
        return y, jnp.zeros_like(y)

    def inverse_and_log_det(self, y, params):
        x = y - params[..., 0, :]
        return x, jnp.zeros_like(x)
