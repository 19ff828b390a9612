r"""A limit to how far the draws of a guide reach where a support's transform would overflow.

.. math::
    y = x - \operatorname{sign}(x - t) \, \big(e - \log(1 + e)\big), \qquad
    e = \max(|x - t| - 30, 0)

is the identity within 30 of :math:`t`, and far from there grows like the logarithm. The exponential
of a coordinate, which makes it positive, is then finite for every draw.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, ensure_compile_time_eval, lax

from ..distributions.transforms import Transform
from .latent_space import LatentSpace

__all__ = ["Limited", "constrained_coordinates"]

REACH = 30.0


class Limited(Transform):
    r"""The map above of some coordinates.

    Args:
        loc: centre :math:`t`, shape ``(D,)``, not trained.
        limited: which coordinates have a limit, ``D`` booleans.
    """

    def __init__(self, loc: Array, limited: tuple[bool, ...]):
        super().__init__(len(limited))
        self.loc = loc
        self.limited = limited

    def _excess(self, point: Array) -> tuple[Array, Array]:
        shift = point - lax.stop_gradient(self.loc)
        excess = jnp.maximum(jnp.abs(shift) - REACH, 0.0)
        return jnp.sign(shift), jnp.where(np.array(self.limited), excess, 0.0)

    def forward_and_log_det(self, x, context=None):
        sign, excess = self._excess(x)
        return x - sign * (excess - jnp.log1p(excess)), -jnp.log1p(excess).sum(-1)

    def inverse_and_log_det(self, y, context=None):
        sign, excess = self._excess(y)
        return y + sign * (jnp.expm1(excess) - excess), excess.sum(-1)


def constrained_coordinates(space: LatentSpace) -> tuple[bool, ...]:
    """Which coordinates of the unconstrained vector are not themselves values of a site."""
    found: list[bool] = []
    for site in space.sites:
        with ensure_compile_time_eval():
            probe = jnp.full(site.shape, 0.5)
            value = site.transform(probe)
            same = value.shape == probe.shape and bool((value == probe).all())
        found += [not same] * (site.stop - site.start)
    return tuple(found)
