"""The mixture of the posteriors of learned pseudo-inputs."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from .._numerics.checks import check_dims, check_positive_int
from ..ops._random import check_rng_key

__all__ = ["VampPrior"]


class VampPrior(eqx.Module):
    r"""A mixture of what an encoder makes of ``K`` learned pseudo-inputs.

    .. math:: p(z) = \frac1K \sum_k q(z \mid u_k)

    The encoder is an argument of the call: it is that of the guide, with its parameters. The
    components are computed once a call, whatever the number of data and particles. With a context,
    they are those of each context, at the cost of ``K`` encodings for each datum.

    Args:
        rng_key: random key of the start.
        num_components: number ``K`` of pseudo-inputs.
        input_shape: shape of one of them.
        input_range: limits of their entries, which are then a logistic function of what is
            learned, or None.
        init: data to start from, shape ``(K,) + input_shape``, default draws of a standard normal
            before the limits.

    Raises:
        ValueError: if ``init`` has another shape.

    Example:
        >>> import jax
        >>> from numpyro_deepgen.models import vae
        >>> key = jax.random.key(0)
        >>> prior = VampPrior(key, 20, (8, 8), input_range=(0.0, 1.0))
        >>> vae(key, (8, 8), latent_dim=3, prior=prior).prior().event_shape
        (3,)

    References:
        Tomczak & Welling 2018, VAE with a VampPrior, eq. 9.
    """

    raw_inputs: Array
    input_range: tuple[float, float] | None = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        num_components: int,
        input_shape: Sequence[int],
        input_range: tuple[float, float] | None = (0.0, 1.0),
        init: Array | None = None,
    ):
        shape = (
            check_positive_int("num_components", num_components),
            *check_dims("input_shape", input_shape),
        )
        self.input_range = input_range
        if init is None:
            init = jax.random.normal(check_rng_key(rng_key), shape)
        elif tuple(init.shape) != shape:
            raise ValueError(
                f"init must have shape {shape}, got {tuple(init.shape)}; pass as many data."
            )
        elif input_range is not None:
            low, high = input_range
            # inside, where the derivative is not zero
            init = jax.scipy.special.logit(jnp.clip((init - low) / (high - low), 0.02, 0.98))
        self.raw_inputs = jnp.asarray(init, float)

    def inputs(self) -> Array:
        """The pseudo-inputs."""
        if self.input_range is None:
            return self.raw_inputs
        low, high = self.input_range
        return low + (high - low) * jax.nn.sigmoid(self.raw_inputs)

    def __call__(self, encoder: Callable, context: Array | None = None) -> Distribution:
        inputs = self.inputs()
        if context is None:
            components = encoder(inputs)
        else:
            components = encoder(inputs, context[..., None, :])
        logits = jnp.zeros(components.batch_shape, inputs.dtype)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)
