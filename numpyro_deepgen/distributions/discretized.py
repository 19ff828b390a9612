r"""Logistic distributions over whole numbers, and mixtures of them.

With the values ``low, ..., high`` rescaled to :math:`y(x) \in [-1, 1]`, bins of half-width
:math:`h = 1 / (\text{high} - \text{low})` and the logistic function :math:`\sigma`,

.. math::
    p(x) = \sigma\!\left(\frac{y + h - m}{s}\right) - \sigma\!\left(\frac{y - h - m}{s}\right)
         = \sigma(a)\, \sigma(-b)\, (1 - e^{b - a}),

where the lowest bin reaches down to :math:`-\infty` and the highest up to :math:`\infty`. The
product is exact where the difference of two numbers near one would be none.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import log_sigmoid, log_softmax, sigmoid
from jax.scipy.special import logsumexp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from .._numerics.checks import check_levels

__all__ = ["DiscretizedLogistic", "DiscretizedLogisticMixture"]


class Levels(type(constraints.integer_interval(0, 1)), constraints.ParameterFreeConstraint):
    """Whole numbers in a range that is no array: the host's mixtures ask for such a support."""


class DiscretizedLogistic(Distribution):
    r"""A logistic variable rounded to the nearest of the whole numbers ``low, ..., high``.

    Args:
        loc: location :math:`m` in units of the values rescaled to :math:`[-1, 1]`.
        scale: scale :math:`s > 0` in the same units, of a shape that broadcasts with ``loc``.
        low: lowest value.
        high: highest value, above ``low``.
        validate_args: whether arguments and values are checked.

    Raises:
        ValueError: if ``high`` is not above ``low``.

    Example:
        >>> import jax.numpy as jnp
        >>> d = DiscretizedLogistic(0.0, 0.1, 0, 16)
        >>> jnp.exp(d.log_prob(jnp.arange(17))).sum().round(5).item()
        1.0

    References:
        Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++, eq. 2; Kingma et al. 2016, Improved
        variational inference with inverse autoregressive flow, section 5.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    pytree_aux_fields = ("low", "high")
    has_enumerate_support = True

    def __init__(
        self,
        loc: Array,
        scale: Array,
        low: int = 0,
        high: int = 255,
        validate_args: bool | None = None,
    ):
        self.low, self.high = check_levels(low, high)
        self.loc, self.scale = jnp.broadcast_arrays(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return Levels(self.low, self.high)

    def sample(self, key: Array, sample_shape=()) -> Array:
        noise = jax.random.uniform(key, (*sample_shape, *self.batch_shape), self.loc.dtype)
        return draw_level(noise, self.loc, self.scale, self.low, self.high)

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        return log_mass(value, self.loc, self.scale, self.low, self.high)

    def cdf(self, value: Array) -> Array:
        """The probability of values up to ``value``."""
        value = jnp.floor(value)
        upper = rescaled(value, self.low, self.high) + 1.0 / (self.high - self.low)
        inside = sigmoid((upper - self.loc) / self.scale)
        return jnp.where(value >= self.high, 1.0, jnp.where(value < self.low, 0.0, inside))

    def enumerate_support(self, expand: bool = True) -> Array:
        values = jnp.arange(self.low, self.high + 1)
        values = values.reshape((-1,) + (1,) * len(self.batch_shape))
        shape = values.shape[:1] + self.batch_shape
        return jnp.broadcast_to(values, shape) if expand else values

    @property
    def mean(self) -> Array:
        """The mean, a sum over the values."""
        values = self.enumerate_support(expand=False)
        return (jnp.exp(self.log_prob(values)) * values).sum(0)

    @property
    def variance(self) -> Array:
        """The variance, a sum over the values."""
        values = self.enumerate_support(expand=False)
        return (jnp.exp(self.log_prob(values)) * jnp.square(values - self.mean)).sum(0)


class DiscretizedLogisticMixture(Distribution):
    r"""A mixture of discretised logistic variables over the ``C`` channels of a pixel.

    Given the component, the channels come one after the other, each with a location that is linear
    in the rescaled values of the channels before it:

    .. math::
        p(x) = \sum_k \pi_k \prod_c
            p\Big(x_c \,\Big|\, m_{kc} + \sum_{j < c} \alpha_{kcj}\, y(x_j),\; s_{kc}\Big)

    Args:
        logits: unnormalised log-weights, shape ``batch_shape + (K,)``.
        loc: locations in units of the values rescaled to :math:`[-1, 1]`, shape ``batch_shape +
            (K, C)``.
        scale: scales in the same units, positive, same shape.
        coefficients: the :math:`\alpha`, row by row below the diagonal, shape ``batch_shape +
            (K, C (C - 1) / 2)``, or None for none.
        low: lowest value.
        high: highest value, above ``low``.
        validate_args: whether arguments and values are checked.

    Raises:
        ValueError: if shapes do not fit, or ``high`` is not above ``low``.

    Example:
        >>> import jax.numpy as jnp
        >>> loc = jnp.zeros((4, 2, 3))
        >>> d = DiscretizedLogisticMixture(jnp.zeros((4, 2)), loc, jnp.ones((4, 2, 3)), loc)
        >>> d.batch_shape, d.event_shape
        ((4,), (3,))

    References:
        Salimans et al. 2017, PixelCNN++, sections 2.1 and 2.2.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
        "coefficients": constraints.independent(constraints.real, 2),
    }
    pytree_aux_fields = ("low", "high")

    def __init__(
        self,
        logits: Array,
        loc: Array,
        scale: Array,
        coefficients: Array | None = None,
        low: int = 0,
        high: int = 255,
        validate_args: bool | None = None,
    ):
        self.low, self.high = check_levels(low, high)
        channels = loc.shape[-1]
        pairs = channels * (channels - 1) // 2
        if coefficients is None:
            coefficients = jnp.zeros((*loc.shape[:-1], pairs), loc.dtype)
        if scale.shape[-1] != channels or coefficients.shape[-1] != pairs:
            raise ValueError(
                f"scale and coefficients must have {channels} and {pairs} entries in their last "
                f"dimension like the channels of loc, got {scale.shape[-1]} and "
                f"{coefficients.shape[-1]}; pass arrays that fit."
            )
        shape = jnp.broadcast_shapes(
            logits.shape, loc.shape[:-1], scale.shape[:-1], coefficients.shape[:-1]
        )
        self.logits = jnp.broadcast_to(logits, shape)
        self.loc, self.scale = (jnp.broadcast_to(t, (*shape, channels)) for t in (loc, scale))
        self.coefficients = jnp.broadcast_to(coefficients, (*shape, pairs))
        super().__init__(shape[:-1], (channels,), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.independent(Levels(self.low, self.high), 1)

    def sample(self, key: Array, sample_shape=()) -> Array:
        component_key, noise_key = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        which = jax.random.categorical(component_key, self.logits, shape=shape)
        loc, scale, coefficients = (
            _select(t, which) for t in (self.loc, self.scale, self.coefficients)
        )
        noise = jax.random.uniform(noise_key, loc.shape, loc.dtype)
        x = []
        for c in range(loc.shape[-1]):
            m = loc[..., c] + _shift(x, coefficients, c, self.low, self.high)
            x.append(draw_level(noise[..., c], m, scale[..., c], self.low, self.high))
        return jnp.stack(x, -1)

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        x = [value[..., None, c] for c in range(self.event_shape[0])]
        terms = 0.0
        for c in range(len(x)):
            loc = self.loc[..., c] + _shift(x, self.coefficients, c, self.low, self.high)
            terms = terms + log_mass(x[c], loc, self.scale[..., c], self.low, self.high)
        return logsumexp(log_softmax(self.logits, -1) + terms, -1)


def rescaled(value: Array, low: int, high: int) -> Array:
    """Values ``low, ..., high`` as numbers from -1 to 1."""
    return (value - low) * (2.0 / (high - low)) - 1.0


def log_mass(value: Array, loc: Array, scale: Array, low: int, high: int) -> Array:
    """The log-probabilities of whole numbers under discretised logistic distributions."""
    offset = rescaled(value, low, high) - loc
    half = 1.0 / (high - low)
    log_below = log_sigmoid((offset + half) / scale)
    log_above = log_sigmoid((half - offset) / scale)
    log_width = jnp.log(-jnp.expm1(-2.0 * half / scale))
    inside = log_below + log_above + log_width
    return jnp.where(value <= low, log_below, jnp.where(value >= high, log_above, inside))


def draw_level(noise: Array, loc: Array, scale: Array, low: int, high: int) -> Array:
    """Whole numbers from uniform noise, by the inverse of the distribution function."""
    tiny = jnp.finfo(noise.dtype).tiny
    y = loc + scale * (jnp.log(jnp.maximum(noise, tiny)) - jnp.log1p(-noise))
    levels = jnp.round(low + 0.5 * (y + 1.0) * (high - low))
    return jnp.clip(levels, low, high).astype(int)


def _shift(x: list[Array], coefficients: Array, channel: int, low: int, high: int):
    """What the channels before one add to its location."""
    start = channel * (channel - 1) // 2
    terms = (coefficients[..., start + j] * rescaled(x[j], low, high) for j in range(channel))
    return sum(terms, 0.0)


def _select(parts: Array, which: Array) -> Array:
    """The entries of the components drawn, from ``batch_shape + (K, n)``."""
    parts = jnp.broadcast_to(parts, (*which.shape, *parts.shape[-2:]))
    return jnp.take_along_axis(parts, which[..., None, None], -2)[..., 0, :]
