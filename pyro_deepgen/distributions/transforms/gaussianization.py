"""The elementwise map of Gaussianization flows."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from ..._numerics.checks import check_positive, check_positive_int
from ...ops.gaussianize import logit_to_normal, normal_to_logit
from ...ops.mixture_logistic import mixture_logit
from .numerical import NumericalMap, numerical_inverse

__all__ = ["GaussianizationMap"]

# share of the variance of the starting mixture that the spread of its locations gives
SPREAD = 0.5


@dataclass(frozen=True)
class GaussianizationMap(NumericalMap):
    r"""The map :math:`y = \Phi^{-1}(\sum_k \pi_k \sigma((x - m_k) e^{-s_k}))`.

    It turns a variable whose distribution is that mixture of logistics into a standard normal one.
    The mixture and the normal quantile are computed in log space, right far out, where ``y`` grows
    as the square root of ``x``. Closed form forward, numerical inverse.

    Zero parameters do not give the identity: they give the mixture of variance 1 whose locations
    are spread over normal quantiles, and with it nearly the identity where the normal has mass
    (within 0.1 for ``|x| < 3`` and eight components).

    Args:
        num_components: number ``K`` of logistics; the map has ``3 K`` parameters.
        max_log_scale: bound of the raw log-scales, positive.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions.transforms import Elementwise
        >>> Elementwise(2, GaussianizationMap())(torch.zeros(2)).abs().max().item() < 1e-6
        True

    References:
        Meng et al. 2020, Gaussianization Flows, equation 8.
    """

    num_components: int = 8
    max_log_scale: float = 7.0

    def __post_init__(self):
        check_positive_int("num_components", self.num_components)
        check_positive("max_log_scale", self.max_log_scale)
        # plain numbers, which a compiler takes as constants
        object.__setattr__(self, "_start", _start(self.num_components))

    @property
    def num_params(self) -> int:
        return 3 * self.num_components

    def _mixture(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        logits, locs, log_scales = params.unflatten(-2, (3, self.num_components)).unbind(-3)
        locs_at_zero, log_scale = self._start
        start = torch.tensor(locs_at_zero, dtype=params.dtype, device=params.device).unsqueeze(-1)
        bound = self.max_log_scale
        log_scales = log_scale + bound * torch.tanh(log_scales / bound)
        return mixture_logit(x, logits, start + locs, log_scales)

    def forward_and_log_det(self, x, params):
        v, log_det = self._mixture(x, params)
        y, term = logit_to_normal(v)
        return y, log_det + term

    def inverse_and_log_det(self, y, params):
        v, term = normal_to_logit(y)
        x, log_det = numerical_inverse(self._mixture, v, params)
        return x, log_det + term


def _start(num_components: int) -> tuple[tuple[float, ...], float]:
    """Return the ``K`` starting locations and the common log-scale."""
    quantiles = [NormalDist().inv_cdf((k + 0.5) / num_components) for k in range(num_components)]
    variance = sum(q * q for q in quantiles) / num_components
    share = SPREAD if num_components > 1 else 0.0
    locs = [q * math.sqrt(share / (variance or 1.0)) for q in quantiles]
    # a logistic variable of scale s has variance (pi s)^2 / 3
    log_scale = 0.5 * math.log(3.0 * (1.0 - share)) - math.log(math.pi)
    return tuple(locs), log_scale
