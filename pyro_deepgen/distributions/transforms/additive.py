"""The additive elementwise map."""

from dataclasses import dataclass

import torch

from .elementwise import ElementwiseMap

__all__ = ["AdditiveMap"]


@dataclass(frozen=True)
class AdditiveMap(ElementwiseMap):
    r"""The map :math:`y = x + t`, which keeps volumes.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions.transforms import Coupling
        >>> Coupling(3, AdditiveMap())(torch.ones(4, 3)).shape
        torch.Size([4, 3])

    References:
        Dinh et al. 2015, NICE: Non-linear Independent Components Estimation, equation 11.
    """

    @property
    def num_params(self) -> int:
        return 1

    def forward_and_log_det(self, x, params):
        y = x + params[..., 0, :]
        return y, torch.zeros_like(y)

    def inverse_and_log_det(self, y, params):
        x = y - params[..., 0, :]
        return x, torch.zeros_like(x)
