r"""Logistic distributions over whole numbers, and mixtures of them.

With the values ``low, ..., high`` rescaled to :math:`y(x) \in [-1, 1]`, bins of half-width
:math:`h = 1 / (\text{high} - \text{low})` and the logistic function :math:`\sigma`,

.. math::
    p(x) = \sigma\!\left(\frac{y + h - m}{s}\right) - \sigma\!\left(\frac{y - h - m}{s}\right)
         = \sigma(a)\, \sigma(-b)\, (1 - e^{b - a}),

where the lowest bin reaches down to :math:`-\infty` and the highest up to :math:`\infty`. The
product is exact where the difference of two numbers near one would be none.
"""

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

from .._numerics.checks import check_levels

__all__ = ["DiscretizedLogistic", "DiscretizedLogisticMixture"]


class DiscretizedLogistic(TorchDistribution):
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
        >>> import torch
        >>> d = DiscretizedLogistic(torch.tensor(0.0), torch.tensor(0.1), 0, 16)
        >>> round(d.log_prob(torch.arange(17)).exp().sum().item(), 5)
        1.0

    References:
        Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++, eq. 2; Kingma et al. 2016, Improved
        variational inference with inverse autoregressive flow, section 5.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    has_enumerate_support = True

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        low: int = 0,
        high: int = 255,
        validate_args: bool | None = None,
    ):
        self.low, self.high = check_levels(low, high)
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(self.low, self.high)

    def expand(self, batch_shape, _instance=None) -> "DiscretizedLogistic":
        loc, scale = (t.expand(batch_shape) for t in (self.loc, self.scale))
        return DiscretizedLogistic(loc, scale, self.low, self.high, self._validate_args)

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            noise = torch.rand(self._extended_shape(sample_shape), **_like(self.loc))
            return draw_level(noise, self.loc, self.scale, self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return log_mass(value, self.loc, self.scale, self.low, self.high)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of values up to ``value``."""
        value = torch.as_tensor(value).floor()
        width = self.high - self.low
        upper = rescaled(value, self.low, self.high).to(self.loc) + 1.0 / width
        inside = torch.sigmoid((upper - self.loc) / self.scale)
        return torch.where(value >= self.high, 1.0, torch.where(value < self.low, 0.0, inside))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = torch.arange(self.low, self.high + 1, **_like(self.loc))
        values = values.view((-1,) + (1,) * len(self.batch_shape))
        return values.expand((-1, *self.batch_shape)) if expand else values

    @property
    def mean(self) -> Tensor:
        """The mean, a sum over the values."""
        values = self.enumerate_support(expand=False)
        return (self.log_prob(values).exp() * values).sum(0)

    @property
    def variance(self) -> Tensor:
        """The variance, a sum over the values."""
        values = self.enumerate_support(expand=False)
        return (self.log_prob(values).exp() * (values - self.mean).square()).sum(0)


class DiscretizedLogisticMixture(TorchDistribution):
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
        >>> import torch
        >>> loc = torch.zeros(4, 2, 3)
        >>> d = DiscretizedLogisticMixture(torch.zeros(4, 2), loc, torch.ones(4, 2, 3), loc)
        >>> d.batch_shape, d.event_shape
        (torch.Size([4]), torch.Size([3]))

    References:
        Salimans et al. 2017, PixelCNN++, sections 2.1 and 2.2.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
        "coefficients": constraints.independent(constraints.real, 2),
    }

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        coefficients: Tensor | None = None,
        low: int = 0,
        high: int = 255,
        validate_args: bool | None = None,
    ):
        self.low, self.high = check_levels(low, high)
        channels = loc.shape[-1]
        pairs = channels * (channels - 1) // 2
        if coefficients is None:
            coefficients = loc.new_zeros(loc.shape[:-1] + (pairs,))
        if scale.shape[-1] != channels or coefficients.shape[-1] != pairs:
            raise ValueError(
                f"scale and coefficients must have {channels} and {pairs} entries in their last "
                f"dimension like the channels of loc, got {scale.shape[-1]} and "
                f"{coefficients.shape[-1]}; pass arrays that fit."
            )
        shape = torch.broadcast_shapes(
            logits.shape, loc.shape[:-1], scale.shape[:-1], coefficients.shape[:-1]
        )
        self.logits = logits.expand(shape)
        self.loc, self.scale = (t.expand(shape + (channels,)) for t in (loc, scale))
        self.coefficients = coefficients.expand(shape + (pairs,))
        super().__init__(shape[:-1], torch.Size((channels,)), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(self.low, self.high), 1)

    def expand(self, batch_shape, _instance=None) -> "DiscretizedLogisticMixture":
        shape = torch.Size(batch_shape)
        parts = [self.logits, self.loc, self.scale, self.coefficients]
        parts = [t.expand(shape + t.shape[len(self.batch_shape) :]) for t in parts]
        return DiscretizedLogisticMixture(*parts, self.low, self.high, self._validate_args)

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            which = torch.distributions.Categorical(logits=self.logits).sample(sample_shape)
            loc, scale, coefficients = (
                _select(t, which) for t in (self.loc, self.scale, self.coefficients)
            )
            noise = torch.rand(shape, **_like(loc))
            x = []
            for c in range(shape[-1]):
                m = loc[..., c] + _shift(x, coefficients, c, self.low, self.high)
                x.append(draw_level(noise[..., c], m, scale[..., c], self.low, self.high))
            return torch.stack(x, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = [value[..., None, c] for c in range(self.event_shape[0])]
        terms = 0.0
        for c in range(len(x)):
            loc = self.loc[..., c] + _shift(x, self.coefficients, c, self.low, self.high)
            terms = terms + log_mass(x[c], loc, self.scale[..., c], self.low, self.high)
        return torch.logsumexp(self.logits.log_softmax(-1) + terms, -1)


def rescaled(value: Tensor, low: int, high: int) -> Tensor:
    """Values ``low, ..., high`` as numbers from -1 to 1."""
    return (value - low) * (2.0 / (high - low)) - 1.0


def log_mass(value: Tensor, loc: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """The log-probabilities of whole numbers under discretised logistic distributions."""
    offset = rescaled(value, low, high).to(loc) - loc
    half = 1.0 / (high - low)
    log_below, log_above = logsigmoid((offset + half) / scale), logsigmoid((half - offset) / scale)
    log_width = (-torch.expm1(-2.0 * half / scale)).log()
    inside = log_below + log_above + log_width
    return torch.where(value <= low, log_below, torch.where(value >= high, log_above, inside))


def draw_level(noise: Tensor, loc: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers from uniform noise, by the inverse of the distribution function."""
    tiny = torch.finfo(noise.dtype).tiny
    y = loc + scale * (noise.clamp(min=tiny).log() - torch.log1p(-noise))
    return (low + 0.5 * (y + 1.0) * (high - low)).round().clamp(low, high)


def _shift(x: list[Tensor], coefficients: Tensor, channel: int, low: int, high: int):
    """What the channels before one add to its location."""
    start = channel * (channel - 1) // 2
    terms = (
        coefficients[..., start + j] * rescaled(x[j], low, high).to(coefficients)
        for j in range(channel)
    )
    return sum(terms, 0.0)


def _select(parts: Tensor, which: Tensor) -> Tensor:
    """The entries of the components drawn, from ``batch_shape + (K, n)``."""
    parts = parts.expand(which.shape + parts.shape[-2:])
    index = which[..., None, None].expand(which.shape + (1, parts.shape[-1]))
    return parts.gather(-2, index).squeeze(-2)


def _like(t: Tensor) -> dict:
    return {"dtype": t.dtype, "device": t.device}
