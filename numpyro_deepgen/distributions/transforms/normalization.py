"""Normalisation layers that are bijections of one point, in training and in evaluation."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from ..._numerics.checks import check_event_shape, check_positive
from ...ops._clamp import clamp
from .elementwise import ElementwiseAffine

__all__ = ["ActNorm", "BatchNorm"]

MAX_START = 29.0
LOG_SCALE_BOUND = 30.0


class ActNorm(ElementwiseAffine):
    r"""A location-scale layer that starts by standardising a batch.

    It is :math:`y = e^{s} \odot x + t`. :meth:`initialize` returns the layer with ``t`` and ``s``
    set from a batch: the images (or, for an inverse, the preimages) of that batch have mean 0 and
    standard deviation 1. From then on it is an ordinary learned layer; until then it is the
    identity.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = ActNorm(jax.random.key(0), 1).initialize(jnp.array([[1.0], [3.0]]))
        >>> layer(jnp.array([2.0])).tolist()
        [0.0]

    References:
        Kingma & Dhariwal 2018, Glow, section 3.1.
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(rng_key, input_dim, context_dim, hidden_dims, activation)
        # 1 once set; a number like all others, so that any optimiser takes the layer as it is
        self.initialized = jnp.zeros(())

    def initialize(
        self, x: Array, context: Array | None = None, inverse: bool = False
    ) -> "ActNorm":
        """Return the layer set so that a batch comes out standardised.

        Args:
            x: two points or more, ``batch_shape + (D,)``.
            context: not used; the network of the context starts at zero.
            inverse: whether the batch goes through the inverse direction.

        Raises:
            ValueError: if there are fewer than two points.
        """
        mean, std = batch_statistics(x, self.input_dim)
        log_scale = jnp.log(clamp(std, float(jnp.finfo(std.dtype).tiny)))
        log_scale = clamp(log_scale, -MAX_START, MAX_START)
        if not inverse:
            log_scale, mean = -log_scale, -mean * jnp.exp(-log_scale)
        raw = LOG_SCALE_BOUND * jnp.arctanh(log_scale / LOG_SCALE_BOUND)
        old = (self.parameter_net.bias, self.initialized)
        new = (jnp.concatenate([mean, raw]).astype(old[0].dtype), jnp.ones_like(old[1]))
        return eqx.tree_at(lambda t: (t.parameter_net.bias, t.initialized), self, new)


class BatchNorm(ElementwiseAffine):
    r"""Standardisation by stored statistics, then a location-scale layer.

    .. math:: y = e^{s} \odot (x - m) / \sqrt{\max(v, \epsilon)} + t.

    The mean ``m`` and variance ``v`` change in :meth:`update` alone, which returns a new layer, so
    that the transform is one bijection, of one point, in training and in evaluation: forward and
    inverse agree, and the log-determinant is that of the map applied. Call ``update`` once a
    training step with the batch that enters the layer; the derivatives of the statistics are zero.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        epsilon: least variance to divide by, positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = BatchNorm(jax.random.key(0), 1).update(jnp.array([[1.0], [3.0]]), momentum=1.0)
        >>> layer(jnp.array([2.0])).tolist()
        [0.0]

    References:
        Dinh et al. 2017, Density estimation using Real NVP, section 3.7.
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        epsilon: float = 1e-5,
    ):
        super().__init__(rng_key, input_dim, context_dim, hidden_dims, activation)
        self.epsilon = check_positive("epsilon", epsilon)
        self.mean, self.variance = jnp.zeros(self.input_dim), jnp.ones(self.input_dim)

    def update(self, x: Array, momentum: float = 0.1) -> "BatchNorm":
        """Return the layer with its statistics moved towards those of a batch.

        Args:
            x: two points or more, ``batch_shape + (D,)``.
            momentum: share of the batch, in ``(0, 1]``; 1 replaces the statistics.

        Raises:
            ValueError: if there are fewer than two points, or momentum is outside its range.
        """
        if momentum != 1:
            check_positive("momentum", momentum, upper=1.0)
        mean, std = batch_statistics(x, self.input_dim)
        batch = (mean.astype(self.mean.dtype), jnp.square(std).astype(self.variance.dtype))
        old = (self.mean, self.variance)
        new = tuple(a + momentum * (b - a) for a, b in zip(old, batch, strict=True))
        return eqx.tree_at(lambda t: (t.mean, t.variance), self, new)

    def _statistics(self) -> tuple[Array, Array]:
        mean, variance = lax.stop_gradient((self.mean, self.variance))
        return mean, clamp(variance, self.epsilon)

    def forward_and_log_det(self, x, context=None):
        mean, variance = self._statistics()
        y, log_det = super().forward_and_log_det((x - mean) * lax.rsqrt(variance), context)
        return y, log_det - 0.5 * jnp.log(variance).sum()

    def inverse_and_log_det(self, y, context=None):
        mean, variance = self._statistics()
        x, log_det = super().inverse_and_log_det(y, context)
        return x * jnp.sqrt(variance) + mean, log_det + 0.5 * jnp.log(variance).sum()


def batch_statistics(x: Array, input_dim: int) -> tuple[Array, Array]:
    """Return mean and standard deviation over all leading dimensions, both ``(D,)``."""
    x = lax.stop_gradient(jnp.asarray(x))
    check_event_shape("x", x.shape, input_dim)
    flat = x.reshape(-1, input_dim)
    if flat.shape[0] < 2:
        raise ValueError(
            f"x must hold at least two points to take statistics of, got {flat.shape[0]}; "
            "pass a larger batch."
        )
    return flat.mean(0), flat.std(0)
