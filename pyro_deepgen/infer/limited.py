r"""A limit to how far the draws of a guide reach where a support's transform would overflow.

.. math::
    y = x - \operatorname{sign}(x - t) \, \big(e - \log(1 + e)\big), \qquad
    e = \max(|x - t| - 30, 0)

is the identity within 30 of :math:`t`, and far from there grows like the logarithm. The exponential
of a coordinate, which makes it positive, is then finite for every draw.
"""

import torch
from torch import Tensor

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

    def __init__(self, loc: Tensor, limited: tuple[bool, ...]):
        super().__init__(len(limited))
        self.register_buffer("loc", loc.detach().clone())
        # known from the model, not part of a file
        self.register_buffer("limited", torch.tensor(limited).to(loc), persistent=False)

    def _excess(self, point: Tensor) -> tuple[Tensor, Tensor]:
        shift = point - self.loc
        return shift.sign(), self.limited * (shift.abs() - REACH).clamp(min=0.0)

    def forward_and_log_det(self, x, context=None):
        sign, excess = self._excess(x)
        return x - sign * (excess - excess.log1p()), -excess.log1p().sum(-1)

    def inverse_and_log_det(self, y, context=None):
        sign, excess = self._excess(y)
        return y + sign * (excess.expm1() - excess), excess.sum(-1)


def constrained_coordinates(space: LatentSpace) -> tuple[bool, ...]:
    """Which coordinates of the unconstrained vector are not themselves values of a site."""
    found: list[bool] = []
    for site in space.sites:
        probe = torch.full(site.shape, 0.5)
        value = site.transform(probe)
        same = value.shape == probe.shape and bool((value == probe).all())
        found += [not same] * (site.stop - site.start)
    return tuple(found)
