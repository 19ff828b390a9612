"""Whole numbers in a range."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import Distribution

from ..._numerics.checks import check_levels, check_positive_int
from ..._numerics.marginals import by_quantiles, location_and_raw_scale
from ...ops.scales import bounded_scale
from ..discretized import DiscretizedLogistic, DiscretizedLogisticMixture
from .base import Conditional
from .mixture import MixtureConditional

__all__ = ["DiscretizedLogisticConditional", "DiscretizedLogisticMixtureConditional"]

# of values rescaled to [-1, 1], as PixelCNN++ has it
MIN_SCALE = 1e-3


@dataclass(frozen=True)
class DiscretizedLogisticConditional(Conditional):
    r"""A discretised logistic variable, by its location and a number :math:`a` for its scale.

    Both are in units of the values rescaled to :math:`[-1, 1]`; the scale is :math:`10^{-3} +
    e^{30 \tanh(a / 30)}`.

    Args:
        low: lowest value.
        high: highest value, above ``low``.

    Example:
        >>> import jax.numpy as jnp
        >>> DiscretizedLogisticConditional(0, 16)(jnp.zeros((5, 2))).batch_shape
        (5,)
    """

    low: int = 0
    high: int = 255

    def __post_init__(self):
        check_levels(self.low, self.high)

    @property
    def num_params(self) -> int:
        return 2

    def __call__(self, params: Array) -> Distribution:
        scale = bounded_scale(params[..., 1], MIN_SCALE)
        return DiscretizedLogistic(params[..., 0], scale, self.low, self.high)

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        x = 2.0 * (x - self.low) / (self.high - self.low) - 1.0
        return location_and_raw_scale(x, MIN_SCALE, factor=math.sqrt(3.0) / math.pi)


@dataclass(frozen=True)
class DiscretizedLogisticMixtureConditional(Conditional):
    """A mixture of discretised logistic variables over the channels of a pixel.

    With several channels a component's channel has a location that is linear in those before it,
    with coefficients between -1 and 1.

    Args:
        num_components: number ``K`` of components.
        low: lowest value.
        high: highest value, above ``low``.
        channels: number ``C`` of channels; an element has shape ``()`` if it is 1, else ``(C,)``.

    Example:
        >>> import jax.numpy as jnp
        >>> conditional = DiscretizedLogisticMixtureConditional(5, channels=3)
        >>> conditional.num_params, conditional(jnp.zeros((4, 50))).event_shape
        (50, (3,))

    References:
        Salimans et al. 2017, PixelCNN++, sections 2.1 and 2.2.
    """

    num_components: int
    low: int = 0
    high: int = 255
    channels: int = 1

    def __post_init__(self):
        check_positive_int("num_components", self.num_components)
        check_levels(self.low, self.high)
        check_positive_int("channels", self.channels)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return () if self.channels == 1 else (self.channels,)

    @property
    def num_params(self) -> int:
        channels = self.channels
        return self.num_components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def __call__(self, params: Array) -> Distribution:
        count, channels = self.num_components, self.channels
        if channels == 1:
            component = DiscretizedLogisticConditional(self.low, self.high)
            return MixtureConditional(component, count)(params)
        parts = params[..., count:].reshape((*params.shape[:-1], count, -1))
        return DiscretizedLogisticMixture(
            params[..., :count],
            parts[..., :channels],
            bounded_scale(parts[..., channels : 2 * channels], MIN_SCALE),
            jnp.tanh(parts[..., 2 * channels :]),
            self.low,
            self.high,
        )

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        count, channels = self.num_components, self.channels
        component = DiscretizedLogisticConditional(self.low, self.high)
        if channels == 1:
            return MixtureConditional(component, count).marginal_params(x)
        # (..., channels, components, 2): locations, then scales, then no coefficients
        parts = by_quantiles(x, count, component.marginal_params)
        parts = np.moveaxis(parts, -3, -1).reshape(*parts.shape[:-3], count, 2 * channels)
        rest = np.zeros((*parts.shape[:-1], channels * (channels - 1) // 2))
        parts = np.concatenate([parts, rest], -1)
        logits = np.zeros(parts.shape[:-1])
        return np.concatenate([logits, parts.reshape(*logits.shape[:-1], -1)], -1)
