"""Mixtures of logistic distribution functions as elementwise maps."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ..._numerics.checks import check_positive, check_positive_int
from ...ops.mixture_logistic import mixture_logit
from .elementwise import AffineMap
from .numerical import NumericalMap

__all__ = ["DeepSigmoidalMap", "MixtureLogisticMap"]


@dataclass(frozen=True)
class MixtureLogisticMap(NumericalMap):
    r"""The map :math:`y = e^{a} \operatorname{logit} \sum_k \pi_k \sigma((x - m_k) e^{-s_k}) + b`.

    Closed form forward, numerical inverse, linear tails. The scales are bounded,
    :math:`|s_k|, |a| < m`. Zero parameters give the identity, whatever the weights :math:`\pi_k`,
    which therefore start at random; what makes component ``k`` is the raw parameter times a factor
    of its own between 0.5 and 1.5, so that components that start equal do not stay equal.

    Args:
        num_components: number ``K`` of logistics; the map has ``3 K + 2`` parameters.
        max_log_scale: bound ``m`` of the log-scales, positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import Elementwise
        >>> transform = Elementwise(jax.random.key(0), 2, MixtureLogisticMap(4))
        >>> y = jnp.array([0.5, 1e3])
        >>> jnp.allclose(transform.inv(y), y).item()
        True

    References:
        Ho et al. 2019, Flow++, equations 11-12; Huang et al. 2018, Neural Autoregressive Flows,
        equation 8.
    """

    num_components: int = 8
    max_log_scale: float = 7.0

    def __post_init__(self):
        check_positive_int("num_components", self.num_components)
        check_positive("max_log_scale", self.max_log_scale)

    @property
    def num_params(self) -> int:
        return 3 * self.num_components + 2

    @property
    def num_free(self) -> int:
        return self.num_components

    def forward_and_log_det(self, x, params):
        raw, affine = jnp.split(params, [3 * self.num_components], -2)
        logits, locs, log_scales = self._components(raw)
        v, log_det = mixture_logit(x, logits, locs, log_scales)
        y, term = AffineMap(self.max_log_scale).forward_and_log_det(v, affine)
        return y, log_det + term

    def _components(self, raw: Array) -> tuple[Array, Array, Array]:
        factors = component_factors(self.num_components, raw)[:, None]
        logits, locs, log_scales = (part * factors for part in jnp.split(raw, 3, -2))
        bound = self.max_log_scale
        return logits, locs, bound * jnp.tanh(log_scales / bound)


@dataclass(frozen=True)
class DeepSigmoidalMap(NumericalMap):
    r"""A stack of :class:`MixtureLogisticMap` layers, the deep sigmoidal flow of a NAF.

    Closed form forward; the inverse is one root through the whole stack. Zero parameters give the
    identity.

    Args:
        num_layers: number of layers.
        num_components: number ``K`` of logistics of each layer; ``3 K + 2`` parameters a layer.
        max_log_scale: bound of the log-scales of each layer, positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.transforms import MaskedAutoregressive
        >>> transform = MaskedAutoregressive(jax.random.key(0), 3, DeepSigmoidalMap(2, 4))
        >>> transform(jnp.ones((5, 3))).shape
        (5, 3)

    References:
        Huang et al. 2018, Neural Autoregressive Flows, equations 8-10.
    """

    num_layers: int = 2
    num_components: int = 8
    max_log_scale: float = 5.0

    def __post_init__(self):
        check_positive_int("num_layers", self.num_layers)
        self._layer.__post_init__()

    @property
    def _layer(self) -> MixtureLogisticMap:
        return MixtureLogisticMap(self.num_components, self.max_log_scale)

    @property
    def num_params(self) -> int:
        return self.num_layers * self._layer.num_params

    @property
    def num_free(self) -> int:
        return self.num_layers * self.num_components

    def forward_and_log_det(self, x, params):
        logits, rest = jnp.split(params, [self.num_free], -2)
        parts = (jnp.split(part, self.num_layers, -2) for part in (logits, rest))
        total = 0.0
        for pair in zip(*parts, strict=True):
            x, log_det = self._layer.forward_and_log_det(x, jnp.concatenate(pair, -2))
            total = total + log_det
        return x, total


def component_factors(num_components: int, like: Array) -> Array:
    """Return distinct factors from 0.5 to 1.5 that keep equal components from staying equal."""
    if num_components == 1:
        return jnp.ones(1, like.dtype)
    return jnp.linspace(0.5, 1.5, num_components, dtype=like.dtype)
