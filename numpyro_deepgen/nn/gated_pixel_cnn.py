"""Gated PixelCNN: a vertical and a horizontal stack."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.nn import relu

from .._numerics.checks import check_positive_int
from .._numerics.orders import check_image_grid, left_offsets, row_offsets
from ..ops._random import check_rng_key
from ._linear import Linear
from .autoregressive_network import AutoregressiveNetwork, at, plus_positions
from .causal_convolution import CausalConv

__all__ = ["GatedPixelCNN"]


class GatedPixelCNN(AutoregressiveNetwork):
    r"""Two stacks of gated convolutions that together see every earlier position.

    The vertical stack sees whole rows, the horizontal one what is to the left in its own row. With
    :math:`v` the vertical features, :math:`\downarrow` a shift by one row, and
    :math:`g(a, b) = \tanh(a) \odot \sigma(b)`,

    .. math::
        v \leftarrow g(W_v * v + V_v c), \qquad
        h \leftarrow h + W_r \, g(W_h * h + W_{vh} \downarrow (W_v * v) + V_h c),

    so that there is no blind spot. Sampling computes the vertical stack once a row.

    Args:
        rng_key: random key of the starting weights.
        grid_shape: shape of the grid, two axes.
        num_params: parameters of one position.
        hidden_dim: width.
        num_blocks: number of blocks.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none; it enters every gate.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        kernel_size: odd size of the kernels of the first layer; later ones are of size 3.
        learned_positions: whether each position has a learned vector of its own behind the first
            convolutions. Without them a network knows of positions what the edges tell alone.

    Shape:
        ``(..., *grid_shape, in_channels)`` to ``(..., *grid_shape, num_params)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = GatedPixelCNN(jax.random.key(0), (8, 8), num_params=17)
        >>> network(jnp.zeros((5, 8, 8, 1))).shape
        (5, 8, 8, 17)

    References:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, equations 2
        and 4, and figures 1-2.
    """

    vertical: CausalConv
    horizontal: CausalConv
    from_vertical: Linear
    positions: Array | None
    blocks: tuple["_Block", ...]
    head: Linear
    last: Linear

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
        learned_positions: bool = False,
    ):
        super().__init__(grid_shape, num_params, in_channels, context_dim, context_kind)
        check_image_grid(self.grid_shape)
        width = check_positive_int("hidden_dim", hidden_dim)
        num_blocks = check_positive_int("num_blocks", num_blocks)
        above, left = row_offsets(kernel_size, 0), left_offsets(kernel_size, include_center=False)
        keys = jax.random.split(check_rng_key(rng_key), num_blocks + 5)
        self.vertical = CausalConv(keys[0], in_channels, width, above)
        self.horizontal = CausalConv(keys[1], in_channels, width, left)
        self.from_vertical = Linear(keys[2], width, width)
        self.positions = jnp.zeros((*self.grid_shape, width)) if learned_positions else None
        self.blocks = tuple(_Block(key, width, context_dim) for key in keys[5:])
        self.head, self.last = Linear(keys[3], width, width), Linear(keys[4], width, num_params)

    def _vertical(
        self, x: Array, features: Array | None, conv, positions: Array | None
    ) -> list[Array]:
        """What each horizontal layer is to get from the row above, for rows of inputs."""
        v = plus_positions(conv(self.vertical, x), positions)
        found = [self.from_vertical(v)]
        for block in self.blocks:
            y = conv(block.vertical, v)
            found.append(block.from_vertical(y))
            v = block.gate(y, features, block.vertical_context)
        return found

    def _horizontal(
        self,
        x: Array,
        above: list[Array],
        features: Array | None,
        conv,
        index: Array | None = None,
    ) -> Array:
        h = plus_positions(conv(self.horizontal, x, lag=1) + above[0], self.positions, index)
        for block, v in zip(self.blocks, above[1:], strict=True):
            y = conv(block.horizontal, h) + v
            h = h + block.residual(block.gate(y, features, block.horizontal_context))
        return self.last(relu(self.head(relu(h))))

    def run(self, x, features):
        found = self._vertical(x, features, lambda layer, h: layer(h), self.positions)
        above = [jnp.concatenate([jnp.zeros_like(v[:, :1]), v[:, :-1]], 1) for v in found]
        return self._horizontal(x, above, features, lambda layer, h, lag=0: layer(h))

    def init_cache(self, num_rows: int, context: Array | None = None) -> dict:
        """Return past rows of the vertical stack and past inputs of the horizontal one."""
        dtype, (width, _) = self.head.weight.dtype, self.head.weight.shape
        columns = self.grid_shape[1]
        verticals = [self.vertical, *(block.vertical for block in self.blocks)]
        horizontals = [self.horizontal, *(block.horizontal for block in self.blocks)]
        reach = [-layer.offsets[0][0] for layer in verticals]
        widths = [width, *(2 * width for _ in self.blocks)]
        return {
            "row": jnp.zeros((num_rows, columns, self.in_channels), dtype),
            "rows": [
                jnp.zeros((num_rows, rows, columns, layer.in_channels), dtype)
                for layer, rows in zip(verticals, reach, strict=True)
            ],
            "above": [jnp.zeros((num_rows, columns, size), dtype) for size in widths],
            "buffers": [layer.init_buffer(num_rows, self.grid_shape) for layer in horizontals],
            "context": self.features(context),
            "features": self.features_in_turn(context),
        }

    def _next_row(self, cache: dict, row: Array) -> dict:
        """Pass the row that is complete through the vertical stack."""
        pasts = []

        def conv(layer, h):
            window = jnp.concatenate([cache["rows"][len(pasts)], h[:, None]], 1)
            pasts.append(window[:, 1:])
            return layer.row(window)

        features = cache["context"]
        if features is not None:
            features = features[:, row if features.shape[1] > 1 else 0]
        positions = None if self.positions is None else self.positions[row]
        above = self._vertical(cache["row"], features, conv, positions)
        return {**cache, "rows": pasts, "above": above}

    def step(self, cache: dict, previous: Array, index: Array) -> tuple[Array, dict]:
        row, column = jnp.divmod(index, self.grid_shape[1])
        # at the first step what is written lies in the place of the end of the row
        cache = {**cache, "row": cache["row"].at[:, column - 1].set(previous)}
        complete = (column == 0) & (row > 0)
        cache = lax.cond(complete, lambda c: self._next_row(c, row - 1), lambda c: c, cache)
        buffers = []

        def conv(layer, h, lag=0):
            y, buffer = layer.step(cache["buffers"][len(buffers)], h, index, lag)
            buffers.append(buffer)
            return y

        above = [v[:, column] for v in cache["above"]]
        params = self._horizontal(previous, above, at(cache["features"], index), conv, index)
        return params, {**cache, "buffers": buffers}


class _Block(eqx.Module):
    vertical: CausalConv
    horizontal: CausalConv
    from_vertical: Linear
    residual: Linear
    vertical_context: Linear | None
    horizontal_context: Linear | None

    def __init__(self, rng_key: Array, width: int, context_dim: int):
        keys = jax.random.split(rng_key, 6)
        self.vertical = CausalConv(keys[0], width, 2 * width, row_offsets(3, 0))
        left = left_offsets(3, include_center=True)
        self.horizontal = CausalConv(keys[1], width, 2 * width, left)
        self.from_vertical = Linear(keys[2], 2 * width, 2 * width)
        self.residual = Linear(keys[3], width, width)
        self.vertical_context = self.horizontal_context = None
        if context_dim:
            self.vertical_context = Linear(keys[4], context_dim, 2 * width, use_bias=False)
            self.horizontal_context = Linear(keys[5], context_dim, 2 * width, use_bias=False)

    @staticmethod
    def gate(y: Array, features: Array | None, context_layer: Linear | None) -> Array:
        if features is not None:
            y = y + context_layer(features)
        value, gate = jnp.split(y, 2, -1)
        return jnp.tanh(value) * jax.nn.sigmoid(gate)
