"""Diagonal BiLSTM: recurrence along the diagonals."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from ._linear import Linear
from ._lstm import ImageLSTM, lstm_cell
from .autoregressive_network import at

__all__ = ["DiagonalBiLSTM"]


class DiagonalBiLSTM(ImageLSTM):
    r"""Recurrent layers that go along the diagonals, from both upper corners.

    A state follows from those to its left and above it (the other direction: to its right and above
    it). What comes from the right is shifted down by one row, since a row's later positions are in
    it. Shifted, a state may see the inputs of its own position too, which the masked convolution
    leaves out: in the first layer this direction is given them besides. So a position sees all
    earlier ones with one layer already; otherwise the end of the row above would stay hidden from
    most of a row at any depth. Layers have residual connections. The two-sided part of a sample is
    computed once a row.

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
        >>> network = DiagonalBiLSTM(jax.random.key(0), (8, 8), num_params=17)
        >>> network(jnp.zeros((5, 8, 8, 1))).shape
        (5, 8, 8, 17)

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks,
        section 3.2.
    """

    def make_layer(self, rng_key: Array, size: int, context_dim: int, is_first: bool) -> eqx.Module:
        return _Layer(rng_key, size, context_dim, self.in_channels if is_first else 0)

    def run(self, x, features):
        h = self.layers[0](self.first(x), features, x)
        for layer in self.layers[1:]:
            h = layer(h, features)
        return self.params(h)

    def step(self, cache: dict, previous: Array, index: Array) -> tuple[Array, dict]:
        first, *others = cache["layers"]
        seen = first["seen"].at[:, (index - 1) % self.grid_shape[1]].set(previous)
        cache = {**cache, "layers": [{**first, "seen": seen}, *others]}
        return super().step(cache, previous, index)


class _Layer(eqx.Module):
    """Both directions, the one from the right with numbers of its positions' own, if any."""

    from_left: "_Direction"
    from_right: "_Direction"
    own: Linear | None
    out: Linear
    context_layer: Linear | None
    size: int = eqx.field(static=True)

    def __init__(self, rng_key: Array, size: int, context_dim: int, in_channels: int):
        self.size = size
        keys = jax.random.split(rng_key, 5)
        self.from_left, self.from_right = _Direction(keys[0], size), _Direction(keys[1], size)
        self.own = None
        if in_channels:
            self.own = Linear(keys[4], in_channels, 4 * size, use_bias=False)
        self.out = Linear(keys[2], size, 2 * size)
        self.context_layer = None
        if context_dim:
            self.context_layer = Linear(keys[3], context_dim, 8 * size, use_bias=False)

    def _sums(
        self, x: Array, features: Array | None, own: Array | None = None
    ) -> tuple[Array, Array]:
        """What inputs and context add to the gates of both directions."""
        added = (0.0, 0.0)
        if features is not None:
            added = jnp.split(self.context_layer(features), 2, -1)
        left, right = self.from_left.inputs(x) + added[0], self.from_right.inputs(x) + added[1]
        return left, right if own is None else right + self.own(own)

    def __call__(self, x: Array, features: Array | None, own: Array | None = None) -> Array:
        left, right = self._sums(x, features, own)
        left = self.from_left(left)
        right = jnp.flip(self.from_right(jnp.flip(right, 2)), 2)
        right = jnp.pad(right[:, :-1], [(0, 0), (1, 0), (0, 0), (0, 0)])
        return x + self.out(left + right)

    def init_cache(self, num_rows: int, grid_shape: tuple[int, ...]) -> dict:
        dtype = self.out.weight.dtype
        zeros = jnp.zeros((num_rows, self.size), dtype)
        columns = jnp.zeros((num_rows, grid_shape[1], self.size), dtype)
        cache = {
            # states of the row so far and, behind it, of the row above
            "left": columns,
            "last": (zeros, zeros),
            "right": columns,
            "row": jnp.concatenate([columns, columns], -1),
        }
        if self.own is None:
            return cache
        # inputs of the network, of the row so far
        shape = *columns.shape[:2], self.own.weight.shape[1]
        return {**cache, "seen": jnp.zeros(shape, columns.dtype)}

    def step(self, x: Array, features: Array | None, cache: dict, index: Array, place):
        row, column = place

        def next_right(right):
            context = None if features is None else at_row(features, row - 1, cache["row"])
            sums = self._sums(cache["row"], context, cache.get("seen"))[1]
            return self.from_right.along_row(sums, right)

        is_first = column == 0
        right = lax.cond(is_first & (row > 0), next_right, lambda r: r, cache["right"])
        last = [jnp.where(is_first, 0.0, state) for state in cache["last"]]
        context = None if features is None else at(features, index)
        sums = self._sums(x, context)[0]
        h, memory = self.from_left.cell(sums, *last, cache["left"][:, column])
        return x + self.out(h + right[:, column]), {
            **cache,
            "left": cache["left"].at[:, column].set(h),
            "last": (h, memory),
            "right": right,
            "row": cache["row"].at[:, column].set(x),
        }


def at_row(features: Array, row: Array, like: Array) -> Array:
    """Return the features of a row, ``(N, columns or 1, ...)``, from those of a cache."""
    columns = like.shape[1]
    if len(features) > 1:
        features = lax.dynamic_slice_in_dim(features, row * columns, columns, 0)
    return features.swapaxes(0, 1)


class _Direction(eqx.Module):
    """From the upper left corner to the lower right one."""

    inputs: Linear
    states: Linear

    def __init__(self, rng_key: Array, size: int):
        keys = jax.random.split(rng_key)
        self.inputs = Linear(keys[0], 2 * size, 4 * size)
        self.states = Linear(keys[1], 2 * size, 4 * size)

    def cell(self, sums: Array, before: Array, memory: Array, above: Array):
        """State and memory, given those before it in its row and the state above."""
        return lstm_cell(sums + self.states(jnp.concatenate([before, above], -1)), memory)

    def __call__(self, sums: Array) -> Array:
        num_rows, height, width, _ = sums.shape
        # row i moves i columns to the right, so that a column is a diagonal
        skewed, inside = _skewed(sums), _skewed(jnp.ones((1, height, width, 1), sums.dtype))

        def visit(carry, column):
            h, memory = carry
            diagonal, exists = column
            above = jnp.pad(h[:, :-1], [(0, 0), (1, 0), (0, 0)])
            h, memory = self.cell(diagonal, h, memory, above)
            h, memory = h * exists, memory * exists
            return (h, memory), h

        zeros = jnp.zeros((num_rows, height, sums.shape[-1] // 4), sums.dtype)
        columns = jnp.moveaxis(skewed, 2, 0), jnp.moveaxis(inside, 2, 0)
        _, found = lax.scan(visit, (zeros, zeros), columns)
        flat = jnp.moveaxis(found, 0, 2).reshape(num_rows, -1, zeros.shape[-1])
        flat = jnp.pad(flat, [(0, 0), (0, height), (0, 0)])
        return flat.reshape(num_rows, height, width + height, -1)[:, :, :width]

    def along_row(self, sums: Array, above: Array) -> Array:
        """The states of one row, from its last column to the first."""

        def visit(carry, column):
            h, memory = self.cell(column[0], *carry, column[1])
            return (h, memory), h

        zeros = jnp.zeros_like(above[:, 0])
        columns = jnp.moveaxis(sums, 1, 0), jnp.moveaxis(above, 1, 0)
        _, found = lax.scan(visit, (zeros, zeros), columns, reverse=True)
        return jnp.moveaxis(found, 0, 1)


def _skewed(rows: Array) -> Array:
    """Move row ``i`` of ``(N, height, width, C)`` by ``i`` columns to the right."""
    num_rows, height, width, channels = rows.shape
    flat = jnp.pad(rows, [(0, 0), (0, 0), (0, height), (0, 0)]).reshape(num_rows, -1, channels)
    flat = flat[:, : height * (width + height - 1)]
    return flat.reshape(num_rows, height, -1, channels)
