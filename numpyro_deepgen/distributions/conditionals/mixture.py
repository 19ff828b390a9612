"""Mixtures."""

from dataclasses import dataclass

from jax import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from ..._numerics.checks import check_positive_int
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
        count = self.num_components
        shape = (*params.shape[:-1], count, self.component.num_params)
        components = self.component(params[..., count:].reshape(shape))
        return dist.MixtureSameFamily(dist.Categorical(logits=params[..., :count]), components)
