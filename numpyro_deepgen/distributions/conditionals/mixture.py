"""Mixtures."""

from dataclasses import dataclass

import jax
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from ..._numerics.checks import check_positive_int
from ..._numerics.marginals import by_quantiles
from .base import Conditional

__all__ = ["MixtureConditional"]


@dataclass(frozen=True)
class MixtureConditional(Conditional):
    """A mixture of ``K`` distributions of one family.

    The parameters are the ``K`` unnormalised log-weights, then those of each component.

    Args:
        component: the family, of elements whose support depends on no parameter.
        num_components: number ``K`` of components.

    Example:
        >>> import jax.numpy as jnp
        >>> from numpyro_deepgen.distributions.conditionals import NormalConditional
        >>> conditional = MixtureConditional(NormalConditional(), 4)
        >>> conditional.num_params, conditional(jnp.zeros((5, 12))).batch_shape
        (12, (5,))
    """

    component: Conditional
    num_components: int

    def __post_init__(self):
        check_positive_int("num_components", self.num_components)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.component.event_shape

    @property
    def num_params(self) -> int:
        return self.num_components * (1 + self.component.num_params)

    def __call__(self, params: Array) -> Distribution:
        logits, components = self._parts(params)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), self.component(components))

    def marginal_params(self, x: np.ndarray) -> np.ndarray:
        # equal weights, each component at its share of the sorted numbers
        parts = by_quantiles(x, self.num_components, self.component.marginal_params)
        logits = np.zeros(parts.shape[:-1])
        return np.concatenate([logits, parts.reshape(*logits.shape[:-1], -1)], -1)

    def log_tails(self, params: Array, x: Array) -> tuple[Array, Array]:
        logits, components = self._parts(params)
        log_weights = jax.nn.log_softmax(logits)
        below, above = self.component.log_tails(components, x[..., None])
        return logsumexp(log_weights + below, -1), logsumexp(log_weights + above, -1)

    def _parts(self, params: Array) -> tuple[Array, Array]:
        """The unnormalised log-weights, and the parameters of each component."""
        count = self.num_components
        shape = (*params.shape[:-1], count, self.component.num_params)
        return params[..., :count], params[..., count:].reshape(shape)
