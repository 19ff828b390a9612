"""MADE: a dense network whose masks make it autoregressive, in one order or several."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .._numerics.checks import check_dims, check_positive_int
from .._numerics.masks import hidden_degrees, input_ranks
from .._numerics.orders import resolve_orders
from ..ops._random import check_rng_key
from ._linear import Linear
from .activations import activation_function
from .autoregressive_network import AutoregressiveNetwork

__all__ = ["MADE"]


class MADE(AutoregressiveNetwork):
    r"""A masked dense network; its weights belong to positions, its masks to an order.

    With :math:`m(k)` the degree of hidden unit ``k`` and :math:`r_d` the rank of position ``d``,
    units see the positions with :math:`r_d < m(k)`, and the parameters of ``d`` the units with
    :math:`m(k) \le r_d`. Several orders share the weights, each with its own masks.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of positions.
        num_params: parameters of one position.
        hidden_dims: hidden widths.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none; it enters the first layer, unmasked.
        context_kind: ``'vector'`` or ``'label'``, or an ``'image'``, of which a position of the
            first layer sees all.
        order: order of the positions, ``'raster'``, ``'reverse'``, ``'snake'``, ``'random'`` or a
            permutation; or a list of several, in which each ``'random'`` is another one.
        activation: name or elementwise callable.
        direct: whether there are direct connections from earlier positions to the parameters.
        residual: whether hidden layers of one width add to what they are given.

    Shape:
        ``(..., D, in_channels)`` to ``(..., D, num_params)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> MADE(jax.random.key(0), 3, num_params=2)(jnp.zeros((5, 3, 1))).shape
        (5, 3, 2)

    References:
        Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, equations 8-13
        and sections 4.1-4.2; Durkan & Nash 2019, Autoregressive Energy Machines (residual).
    """

    layers: tuple[Linear, ...]
    direct_layer: Linear | None
    context_layer: Linear | None
    hidden_dims: tuple[int, ...] = eqx.field(static=True)
    orders: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    activation: str | Callable = eqx.field(static=True)
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        num_params: int = 1,
        hidden_dims: Sequence[int] = (500,),
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
        order: str | Sequence = "raster",
        activation: str | Callable = "relu",
        direct: bool = True,
        residual: bool = False,
    ):
        input_dim = check_positive_int("input_dim", input_dim)
        super().__init__((input_dim,), num_params, in_channels, context_dim, context_kind)
        self.orders = resolve_orders(order, self.grid_shape)
        self.hidden_dims = check_dims("hidden_dims", hidden_dims)
        if not self.hidden_dims:
            raise ValueError("hidden_dims must hold at least one width, got (); pass (500,).")
        activation_function(activation)
        self.activation, self.residual = activation, residual
        inputs, outputs = input_dim * in_channels, input_dim * num_params
        dims = (inputs, *self.hidden_dims, outputs)
        direct_key, context_key, *keys = jax.random.split(check_rng_key(rng_key), len(dims) + 1)
        self.layers = tuple(
            Linear(key, a, b) for key, a, b in zip(keys, dims, dims[1:], strict=False)
        )
        self.direct_layer = Linear(direct_key, inputs, outputs, False) if direct else None
        self.context_layer = None
        if context_dim:
            size = context_dim * (input_dim if context_kind == "image" else 1)
            self.context_layer = Linear(context_key, size, dims[1], use_bias=False)

    def _degrees(self) -> list[Array]:
        # arrays of JAX: a mask is then computed, not a constant of a compiled program
        return [
            jnp.asarray(hidden_degrees(self.num_positions, n, self.context_dim > 0))
            for n in self.hidden_dims
        ]

    def _hidden(self, h: Array, weights: Sequence[Array]) -> Array:
        """The last hidden units, from the sums of the first layer."""
        activation = activation_function(self.activation)
        h = activation(h)
        for layer, weight in zip(self.layers[1:-1], weights, strict=True):
            y = activation(h @ weight.T + layer.bias)
            h = h + y if self.residual and y.shape == h.shape else y
        return h

    def _hidden_weights(self) -> list[Array]:
        degrees = self._degrees()
        pairs = zip(self.layers[1:-1], degrees, degrees[1:], strict=False)
        return [
            jnp.where(before[None] <= after[:, None], layer.weight, 0.0)
            for layer, before, after in pairs
        ]

    def run(self, x: Array, features: Array | None, order_index: int | Array = 0) -> Array:
        x, degrees = x.reshape(len(x), -1), self._degrees()
        ranks = jnp.asarray(np.stack([input_ranks(o) for o in self.orders]))[order_index]
        rank_in, rank_out = ranks.repeat(self.in_channels), ranks.repeat(self.num_params)
        first, last = self.layers[0], self.layers[-1]
        mask = rank_in[None] < degrees[0][:, None]
        h = x @ jnp.where(mask, first.weight, 0.0).T + first.bias
        if features is not None:
            h = h + self.context_layer(features.reshape(len(features), -1))
        h = self._hidden(h, self._hidden_weights())
        mask = degrees[-1][None] <= rank_out[:, None]
        y = h @ jnp.where(mask, last.weight, 0.0).T + last.bias
        if self.direct_layer is not None:
            mask = rank_in[None] < rank_out[:, None]
            y = y + x @ jnp.where(mask, self.direct_layer.weight, 0.0).T
        return y.reshape(-1, *self.grid_shape, self.num_params)

    def init_cache(
        self, num_rows: int, context: Array | None = None, order_index: int | Array = 0
    ) -> dict:
        """Return the sums of the first layer, those of the direct connections, and the weights."""
        h = jnp.broadcast_to(self.layers[0].bias, (num_rows, self.hidden_dims[0]))
        if context is not None:
            h = h + self.context_layer(self.features(context).reshape(num_rows, -1))
        direct = jnp.zeros((num_rows, self.num_positions * self.num_params), h.dtype)
        return {"sums": h, "direct": direct, "weights": self._hidden_weights()}

    def step(
        self, cache: dict, previous: Array, index: Array, order_index: int | Array = 0
    ) -> tuple[Array, dict]:
        order, degrees = jnp.asarray(self.orders)[order_index], self._degrees()
        sums, direct, last = cache["sums"], cache["direct"], self.layers[-1]
        # at the first step the inputs are zeros
        place = order[jnp.maximum(index - 1, 0)] * self.in_channels
        weight = lax.dynamic_slice_in_dim(self.layers[0].weight, place, self.in_channels, 1)
        sums = sums + previous @ jnp.where(degrees[0] > index - 1, weight.T, 0.0)
        if self.direct_layer is not None:
            weight = self.direct_layer.weight
            weight = lax.dynamic_slice_in_dim(weight, place, self.in_channels, 1)
            direct = direct + previous @ weight.T
        h = self._hidden(sums, cache["weights"])
        weight, bias, known = (
            lax.dynamic_slice_in_dim(a, order[index] * self.num_params, self.num_params, axis)
            for a, axis in ((last.weight, 0), (last.bias, 0), (direct, 1))
        )
        params = h @ jnp.where(degrees[-1][None] <= index, weight, 0.0).T + bias + known
        return params, {**cache, "sums": sums, "direct": direct}
