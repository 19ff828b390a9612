"""PixelCNN: residual masked convolutions."""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from .._numerics.checks import check_positive_int
from .._numerics.orders import causal_offsets, check_grid_axes
from ..ops._random import check_rng_key
from ._linear import Linear
from .activations import activation_function
from .autoregressive_network import AutoregressiveNetwork, Stepper, at, plus_positions, whole
from .causal_convolution import CausalConv

__all__ = ["PixelCNN"]

# makes a variance of 2 / n of the usual 1 / (3 n), for n inputs
RECTIFIED = math.sqrt(6.0)


class PixelCNN(AutoregressiveNetwork):
    r"""A stack of masked convolutions with residual connections.

    A masked ``kernel_size`` x ``kernel_size`` convolution of earlier positions, then blocks of
    :math:`h + W_3 * r(W_2 * r(W_1 * r(h)))` with an activation :math:`r` and 1x1, masked 3x3 and
    1x1 convolutions, then two 1x1 ones. Positions to the right in the rows above may fall into a
    blind spot; see :class:`GatedPixelCNN`. Weights in front of activations start as of He et al.
    2015, the others smaller. A learning rate of 1e-2 was seen to silence half of the rectifiers of
    the paper; with ``'silu'`` it trains well, and further in the same time.

    Args:
        rng_key: random key of the starting weights.
        grid_shape: shape of the grid, of one to three axes.
        num_params: parameters of one position.
        hidden_dim: width ``h`` inside a block; between blocks it is ``2 h``.
        num_blocks: number of blocks.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none; it enters the masked convolutions of blocks.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        kernel_size: odd size of the first kernel.
        head_dim: width of the last hidden layer, default ``2 h``.
        learned_positions: whether each position has a learned vector of its own behind the first
            convolution. Without them a network knows of positions what the edges tell alone.
        activation: name or elementwise callable.

    Shape:
        ``(..., *grid_shape, in_channels)`` to ``(..., *grid_shape, num_params)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> PixelCNN(jax.random.key(0), (8, 8), num_params=17)(jnp.zeros((5, 8, 8, 1))).shape
        (5, 8, 8, 17)

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks, section 3.4
        and table 1; He, Zhang, Ren & Sun 2015, Delving Deep into Rectifiers, section 2.2.
    """

    first: CausalConv
    positions: Array | None
    blocks: tuple["_Block", ...]
    head: Linear
    last: Linear
    activation: str | Callable = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        grid_shape: Sequence[int],
        num_params: int = 1,
        hidden_dim: int = 16,
        num_blocks: int = 7,
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
        kernel_size: int = 7,
        head_dim: int | None = None,
        learned_positions: bool = False,
        activation: str | Callable = "relu",
    ):
        super().__init__(grid_shape, num_params, in_channels, context_dim, context_kind)
        check_grid_axes(self.grid_shape)
        activation_function(activation)
        self.activation = activation
        width = 2 * check_positive_int("hidden_dim", hidden_dim)
        num_axes = len(self.grid_shape)
        num_blocks = check_positive_int("num_blocks", num_blocks)
        keys = jax.random.split(check_rng_key(rng_key), num_blocks + 3)
        self.first = CausalConv(
            keys[0],
            in_channels,
            width,
            causal_offsets((kernel_size,) * num_axes, include_center=False),
            init_scale=RECTIFIED,
        )
        self.positions = jnp.zeros((*self.grid_shape, width)) if learned_positions else None
        offsets = causal_offsets((3,) * num_axes, include_center=True)
        self.blocks = tuple(_Block(key, hidden_dim, offsets, context_dim) for key in keys[3:])
        head_dim = width if head_dim is None else check_positive_int("head_dim", head_dim)
        self.head = Linear(keys[1], width, head_dim, init_scale=RECTIFIED)
        self.last = Linear(keys[2], head_dim, num_params)

    def _params(
        self, x: Array, features: Array | None, conv: Callable, index: Array | None = None
    ) -> Array:
        activate = activation_function(self.activation)
        h = plus_positions(conv(self.first, x, lag=1), self.positions, index)
        for block in self.blocks:
            h = block(h, features, conv, activate)
        return self.last(activate(self.head(activate(h))))

    def run(self, x, features):
        return self._params(x, features, whole)

    def init_cache(self, num_rows: int, context: Array | None = None) -> dict:
        """Return the past inputs of every masked convolution."""
        convs = [self.first, *(block.masked for block in self.blocks)]
        buffers = [conv.init_buffer(num_rows, self.grid_shape) for conv in convs]
        return {"buffers": buffers, "features": self.features_in_turn(context)}

    def step(self, cache: dict, previous: Array, index: Array) -> tuple[Array, dict]:
        stepper = Stepper(cache["buffers"], index)
        params = self._params(previous, at(cache["features"], index), stepper, index)
        return params, {**cache, "buffers": stepper.done}


class _Block(eqx.Module):
    narrow: Linear
    masked: CausalConv
    widen: Linear
    context_layer: Linear | None

    def __init__(self, rng_key: Array, hidden_dim: int, offsets: Sequence, context_dim: int):
        keys = jax.random.split(rng_key, 4)
        self.narrow = Linear(keys[0], 2 * hidden_dim, hidden_dim, init_scale=RECTIFIED)
        self.masked = CausalConv(keys[1], hidden_dim, hidden_dim, offsets, init_scale=RECTIFIED)
        self.widen = Linear(keys[2], hidden_dim, 2 * hidden_dim)
        self.context_layer = None
        if context_dim:
            self.context_layer = Linear(keys[3], context_dim, hidden_dim, use_bias=False)

    def __call__(
        self, h: Array, features: Array | None, conv: Callable, activate: Callable
    ) -> Array:
        y = conv(self.masked, activate(self.narrow(activate(h))))
        if features is not None:
            y = y + self.context_layer(features)
        return h + self.widen(activate(y))
