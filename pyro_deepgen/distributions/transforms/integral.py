r"""Elementwise maps by integration of a positive function.

.. math::
    y = b + \int_0^x g(t; \theta) \, dt, \qquad g(t) = g(\pm B) \text{ for } |t| > B,

so that the map is onto the line, with linear tails of continuous slope, and its log-derivative is
:math:`\log g(x)`.
"""

import numpy as np
import torch
from torch import Tensor

from ..._numerics.quadrature import gauss_legendre
from .numerical import NumericalMap

__all__ = ["IntegralMap"]


class IntegralMap(NumericalMap):
    """An elementwise map that integrates a positive function by Gauss-Legendre quadrature.

    Subclasses have ``bound``, ``num_nodes`` and ``num_params`` (the first parameter is the offset
    ``b``) and write :meth:`slope`.
    """

    bound: float
    num_nodes: int

    def slope(self, t: Tensor, params: Tensor) -> Tensor:
        """Return the positive function at points of ``[-bound, bound]``.

        Args:
            t: ``batch_shape + (J, D)``, ``J`` points for each input.
            params: shape broadcastable to ``batch_shape + (num_params - 1, D)``.
        """
        raise NotImplementedError

    def forward_and_log_det(self, x, params):
        offset, params = params[..., 0, :], params[..., 1:, :]
        inside = x.clamp(-self.bound, self.bound)
        nodes, weights = _rule(self.num_nodes).to(x).unsqueeze(-1)
        # the last point is the end of the interval, where the tail starts and the density is known
        points = torch.cat([inside.unsqueeze(-2) * nodes, inside.unsqueeze(-2)], -2)
        values = self.slope(points, params)
        integral = inside * (weights * values[..., :-1, :]).sum(-2)
        slope = values[..., -1, :]
        return offset + integral + slope * (x - inside), slope.log()


@torch.compiler.assume_constant_result
def _rule(num_nodes: int) -> Tensor:
    """Return nodes and weights, shape ``(2, num_nodes)``."""
    return torch.tensor(np.stack(gauss_legendre(num_nodes)))
