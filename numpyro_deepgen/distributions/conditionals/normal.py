"""Real numbers."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from ..._numerics.checks import check_positive
from ..._numerics.marginals import location_and_raw_scale
from ...ops.gaussianize import log_normal_cdf
from ...ops.scales import bounded_scale, check_scale_range
from ...ops.student_t import log_student_t_tails
from .base import Conditional

__all__ = ["NormalConditional", "StudentTConditional"]


@dataclass(frozen=True)
class NormalConditional(Conditional):
    r"""A normal variable, by its location and a number :math:`a` for its scale.

    The scale is :math:`s_0 + e^{30 \tanh(a / 30)}`, or :math:`s_0 + (s_1 - s_0)\, \sigma(a)` if
    there is an upper limit.

    Args:
        min_scale: lower limit :math:`s_0` of the scale, at least 0.
        max_scale: upper limit :math:`s_1`, or None.

    Example:
        >>> import jax.numpy as jnp
        >>> NormalConditional(min_scale=0.5)(jnp.zeros(2)).scale.item()
        1.5
    """

    min_scale: float = 1e-3
    max_scale: float | None = None

    def __post_init__(self):
        check_scale_range(self.min_scale, self.max_scale)

    @property
    def num_params(self) -> int:
        return 2

    def __call__(self, params: Array) -> Distribution:
        scale = bounded_scale(params[..., 1], self.min_scale, self.max_scale)
        return dist.Normal(params[..., 0], scale)

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        return location_and_raw_scale(x, self.min_scale, self.max_scale)

    def log_tails(self, params: Array, x: Array) -> tuple[Array, Array]:
        u, _ = self.to_noise(params, x)
        return log_normal_cdf(u), log_normal_cdf(-u)

    def to_noise(self, params: Array, x: Array) -> tuple[Array, Array]:
        d = self(params)
        u = (x - d.loc) / d.scale
        return u, jnp.broadcast_to(-jnp.log(d.scale), u.shape)

    def from_noise(self, params: Array, u: Array) -> tuple[Array, Array]:
        d = self(params)
        x = d.loc + d.scale * u
        return x, jnp.broadcast_to(jnp.log(d.scale), x.shape)


@dataclass(frozen=True)
class StudentTConditional(Conditional):
    r"""A Student-t variable, by its location and numbers for its scale and degrees of freedom.

    The scale is :math:`s_0 + e^{30 \tanh(a / 30)}`; of the degrees of freedom, there are
    :math:`1 + 9\, e^{30 \tanh(b / 30)}`, so that the mean exists.

    Args:
        min_scale: lower limit :math:`s_0` of the scale, positive.

    Example:
        >>> import jax.numpy as jnp
        >>> StudentTConditional()(jnp.zeros(3)).df.item()
        10.0
    """

    min_scale: float = 1e-3

    def __post_init__(self):
        check_positive("min_scale", self.min_scale)

    @property
    def num_params(self) -> int:
        return 3

    def __call__(self, params: Array) -> Distribution:
        df = 1.0 + bounded_scale(params[..., 2]) * 9.0
        return dist.StudentT(df, params[..., 0], bounded_scale(params[..., 1], self.min_scale))

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        # ten degrees of freedom, as where the parameter is 0
        params = location_and_raw_scale(x, self.min_scale, factor=math.sqrt(0.8))
        return np.concatenate([params, np.zeros_like(params[..., :1])], -1)

    def log_tails(self, params: Array, x: Array) -> tuple[Array, Array]:
        d = self(params)
        return log_student_t_tails((x - d.loc) / d.scale, d.df)
