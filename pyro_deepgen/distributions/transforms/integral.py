r"""Elementwise maps by integration of a positive function.

.. math::
    y = b + \int_0^x g(t; \theta) \, dt, \qquad g(t) = g(\pm B) \text{ for } |t| > B,

so that the map is onto the line, with linear tails of continuous slope, and its log-derivative is
:math:`\log g(x)`.
"""

import torch
from torch import Tensor

from ..._numerics.quadrature import gauss_legendre
from .numerical import NumericalMap

__all__ = ["IntegralMap"]


class IntegralMap(NumericalMap):
    """An elementwise map that integrates a positive function by Gauss-Legendre quadrature.

    Subclasses have ``bound``, ``num_nodes`` and ``num_params`` (the first parameter is the offset
    ``b``), call ``_set_rule`` at construction and write :meth:`slope`.
    """

    bound: float
    num_nodes: int

    def _set_rule(self) -> None:
        """Keep nodes and weights as plain numbers, which a compiler takes as constants."""
        rule = tuple(tuple(numbers.tolist()) for numbers in gauss_legendre(self.num_nodes))
        object.__setattr__(self, "_rule", rule)

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
        rule = torch.tensor(self._rule, dtype=x.dtype, device=x.device)
        nodes, weights = rule.unsqueeze(-1)
        # the last point is the end of the interval, where the tail starts and the density is known
        points = torch.cat([inside.unsqueeze(-2) * nodes, inside.unsqueeze(-2)], -2)
        values = self.slope(points, params)
        integral = inside * (weights * values[..., :-1, :]).sum(-2)
        slope = values[..., -1, :]
        return offset + integral + slope * (x - inside), slope.log()
