"""WaveNet: dilated causal convolutions."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import relu

from .._numerics.checks import check_positive_int
from ..ops._random import check_rng_key
from ._linear import Linear
from .autoregressive_network import AutoregressiveNetwork, Stepper, at, whole
from .causal_convolution import CausalConv

__all__ = ["WaveNet"]


class WaveNet(AutoregressiveNetwork):
    r"""A stack of dilated causal convolutions with gates, residual and skip connections.

    .. math::
        z = \tanh(W_f * h + V_f c) \odot \sigma(W_g * h + V_g c), \qquad h \leftarrow h + W_r z

    and the sum of all :math:`W_s z` goes through two 1x1 layers. Dilations double from block to
    block, anew after ``num_dilations`` of them. Sampling keeps, for every block, as many past
    values as it reaches back.

    Args:
        rng_key: random key of the starting weights.
        grid_shape: shape of the grid, whose positions form one sequence; usually ``(T,)``.
        num_params: parameters of one position.
        hidden_dim: width.
        num_blocks: number of blocks.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none; it enters every gate.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        kernel_size: number of taps of each convolution.
        num_dilations: dilations before they start anew at 1.

    Shape:
        ``(..., *grid_shape, in_channels)`` to ``(..., *grid_shape, num_params)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = WaveNet(jax.random.key(0), (64,), num_params=17)
        >>> network(jnp.zeros((5, 64, 1))).shape
        (5, 64, 17)

    References:
        van den Oord et al. 2016, WaveNet: A Generative Model for Raw Audio, equation 2.
    """

    first: CausalConv
    blocks: tuple["_Block", ...]
    head: Linear
    last: Linear

    def __init__(
        self,
        rng_key: Array,
        grid_shape: Sequence[int],
        num_params: int = 1,
        hidden_dim: int = 32,
        num_blocks: int = 8,
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
        kernel_size: int = 2,
        num_dilations: int = 8,
    ):
        super().__init__(grid_shape, num_params, in_channels, context_dim, context_kind)
        num_taps = check_positive_int("kernel_size", kernel_size)
        period = check_positive_int("num_dilations", num_dilations)
        num_blocks = check_positive_int("num_blocks", num_blocks)
        keys = jax.random.split(check_rng_key(rng_key), num_blocks + 3)
        taps = [(-k,) for k in range(num_taps, 0, -1)]
        self.first = CausalConv(keys[0], in_channels, hidden_dim, taps)
        self.blocks = tuple(
            _Block(
                key,
                hidden_dim,
                [(-k * 2 ** (i % period),) for k in range(num_taps - 1, -1, -1)],
                context_dim,
            )
            for i, key in enumerate(keys[3:])
        )
        self.head = Linear(keys[1], hidden_dim, hidden_dim)
        self.last = Linear(keys[2], hidden_dim, num_params)

    def _params(self, x: Array, features: Array | None, conv: Callable) -> Array:
        h, total = conv(self.first, x, lag=1), 0.0
        for block in self.blocks:
            h, skip = block(h, features, conv)
            total = total + skip
        return self.last(relu(self.head(relu(total))))

    def run(self, x, features):
        if features is not None:
            features = features.reshape(len(x), -1, self.context_dim)
        params = self._params(x.reshape(len(x), -1, self.in_channels), features, whole)
        return params.reshape(len(x), *self.grid_shape, self.num_params)

    def init_cache(self, num_rows: int, context: Array | None = None) -> dict:
        """Return the past inputs of every convolution."""
        convs = [self.first, *(block.dilated for block in self.blocks)]
        buffers = [conv.init_buffer(num_rows, (self.num_positions,)) for conv in convs]
        return {"buffers": buffers, "features": self.features_in_turn(context)}

    def step(self, cache: dict, previous: Array, index: Array) -> tuple[Array, dict]:
        stepper = Stepper(cache["buffers"], index)
        params = self._params(previous, at(cache["features"], index), stepper)
        return params, {**cache, "buffers": stepper.done}


class _Block(eqx.Module):
    dilated: CausalConv
    residual: Linear
    skip: Linear
    context_layer: Linear | None

    def __init__(self, rng_key: Array, hidden_dim: int, offsets: Sequence, context_dim: int):
        keys = jax.random.split(rng_key, 4)
        self.dilated = CausalConv(keys[0], hidden_dim, 2 * hidden_dim, offsets)
        self.residual = Linear(keys[1], hidden_dim, hidden_dim)
        self.skip = Linear(keys[2], hidden_dim, hidden_dim)
        self.context_layer = None
        if context_dim:
            self.context_layer = Linear(keys[3], context_dim, 2 * hidden_dim, use_bias=False)

    def __call__(self, h: Array, features: Array | None, conv: Callable):
        y = conv(self.dilated, h)
        if features is not None:
            y = y + self.context_layer(features)
        value, gate = jnp.split(y, 2, -1)
        z = jnp.tanh(value) * jax.nn.sigmoid(gate)
        return h + self.residual(z), self.skip(z)
