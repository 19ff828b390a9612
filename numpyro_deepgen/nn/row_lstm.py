"""Row LSTM: recurrence from row to row."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from ._linear import Linear
from ._lstm import ImageLSTM, lstm_cell
from .autoregressive_network import at
from .causal_convolution import CausalConv

__all__ = ["RowLSTM"]


class RowLSTM(ImageLSTM):
    r"""Recurrent layers that go from row to row, all columns at once.

    The state of a row follows from a convolution of three taps of the state above it and from a
    masked one of the inputs of the row,

    .. math::
        (o, f, i, g) = (\sigma, \sigma, \sigma, \tanh)(K_s * h_{r-1} + K_x * x_r), \quad
        c_r = f \odot c_{r-1} + i \odot g, \quad h_r = o \odot \tanh(c_r),

    so that a position sees a triangle above it. Layers have residual connections.

    Args:
        rng_key: random key of the starting weights.
        grid_shape: shape of the grid, two axes.
        num_params: parameters of one position.
        hidden_dim: width ``h`` of the states; between layers it is ``2 h``.
        num_layers: number of layers.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none; it enters every gate.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.
        kernel_size: odd size of the first, masked convolution.

    Shape:
        ``(..., *grid_shape, in_channels)`` to ``(..., *grid_shape, num_params)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = RowLSTM(jax.random.key(0), (8, 8), num_params=17)
        >>> network(jnp.zeros((5, 8, 8, 1))).shape
        (5, 8, 8, 17)

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks,
        section 3.1, equation 3.
    """

    def make_layer(self, rng_key: Array, size: int, context_dim: int, is_first: bool) -> eqx.Module:
        return _Layer(rng_key, size, context_dim)


class _Layer(eqx.Module):
    inputs: CausalConv
    states: CausalConv
    out: Linear
    context_layer: Linear | None

    def __init__(self, rng_key: Array, size: int, context_dim: int):
        keys = jax.random.split(rng_key, 4)
        self.inputs = CausalConv(keys[0], 2 * size, 4 * size, [(0, -1), (0, 0)])
        self.states = CausalConv(keys[1], size, 4 * size, [(-1, -1), (-1, 0), (-1, 1)])
        self.out = Linear(keys[2], size, 2 * size)
        self.context_layer = None
        if context_dim:
            self.context_layer = Linear(keys[3], context_dim, 4 * size, use_bias=False)

    def _from_above(self, h: Array) -> Array:
        """The convolution of the states of a row, as one product of shifted copies."""
        h = jnp.pad(h, [(0, 0), (1, 1), (0, 0)])
        taps = jnp.concatenate([h[:, :-2], h[:, 1:-1], h[:, 2:]], -1)
        matrix = self.states.weight.transpose(2, 1, 0).reshape(taps.shape[-1], -1)
        return taps @ matrix + self.states.bias

    def __call__(self, x: Array, features: Array | None) -> Array:
        sums = self.inputs(x)
        if features is not None:
            sums = sums + self.context_layer(features)

        def visit(carry, row):
            h, memory = lstm_cell(row + self._from_above(carry[0]), carry[1])
            return (h, memory), h

        zeros = jnp.zeros((len(x), x.shape[2], self.states.in_channels), sums.dtype)
        _, rows = lax.scan(visit, (zeros, zeros), jnp.moveaxis(sums, 1, 0))
        return x + self.out(jnp.moveaxis(rows, 0, 1))

    def init_cache(self, num_rows: int, grid_shape: tuple[int, ...]) -> dict:
        shape, dtype = (num_rows, self.states.in_channels), self.out.weight.dtype
        return {
            "inputs": self.inputs.init_buffer(num_rows, grid_shape),
            "states": self.states.init_buffer(num_rows, grid_shape),
            "last": jnp.zeros(shape, dtype),
            "memory": jnp.zeros((grid_shape[1], *shape), dtype),
        }

    def step(self, x: Array, features: Array | None, cache: dict, index: Array, place):
        sums, inputs = self.inputs.step(cache["inputs"], x, index)
        above, states = self.states.step(cache["states"], cache["last"], index, lag=1)
        if features is not None:
            sums = sums + self.context_layer(at(features, index))
        h, memory = lstm_cell(sums + above, cache["memory"][place[1]])
        memory = cache["memory"].at[place[1]].set(memory)
        cache = {"inputs": inputs, "states": states, "last": h, "memory": memory}
        return x + self.out(h), cache
