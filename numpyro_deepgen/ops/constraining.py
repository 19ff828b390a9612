"""Numbers of a range from unconstrained ones, with zero at a natural start."""

import math

import jax
from jax import Array

__all__ = ["above_minus_one"]

# softplus(SHIFT) == 1
SHIFT = math.log(math.expm1(1.0))
# keeps the value above -1 by a margin that survives rounding
MARGIN = 1e-3


def above_minus_one(raw: Array) -> Array:
    r"""Return :math:`(1 - \epsilon)(\mathrm{softplus}(a + \log(e - 1)) - 1) > -1`, zero at zero.

    Args:
        raw: unconstrained ``a``, any shape; :math:`\epsilon = 10^{-3}`.

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, appendix A.1.
    """
    return (1.0 - MARGIN) * (jax.nn.softplus(raw + SHIFT) - 1.0)
