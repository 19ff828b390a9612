"""MADE: a dense network whose masks make it autoregressive, in one order or several."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.checks import check_dims, check_positive_int
from .._numerics.masks import hidden_degrees, input_ranks
from .._numerics.orders import resolve_orders
from .activations import activation_function
from .autoregressive_network import AutoregressiveNetwork

__all__ = ["MADE"]


class MADE(AutoregressiveNetwork):
    r"""A masked dense network; its weights belong to positions, its masks to an order.

    With :math:`m(k)` the degree of hidden unit ``k`` and :math:`r_d` the rank of position ``d``,
    units see the positions with :math:`r_d < m(k)`, and the parameters of ``d`` the units with
    :math:`m(k) \le r_d`. Several orders share the weights, each with its own masks.

    Args:
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
        >>> import torch
        >>> MADE(3, num_params=2)(torch.zeros(5, 3, 1)).shape
        torch.Size([5, 3, 2])

    References:
        Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, equations 8-13
        and sections 4.1-4.2; Durkan & Nash 2019, Autoregressive Energy Machines (residual).
    """

    def __init__(
        self,
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
        self.activation, self.residual = activation_function(activation), residual
        inputs, outputs = input_dim * in_channels, input_dim * num_params
        dims = (inputs, *self.hidden_dims, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(dims, dims[1:], strict=False))
        self.direct_layer = nn.Linear(inputs, outputs, bias=False) if direct else None
        self.context_layer = None
        if context_dim:
            size = context_dim * (input_dim if context_kind == "image" else 1)
            self.context_layer = nn.Linear(size, dims[1], bias=False)
        degrees = [hidden_degrees(input_dim, n, context_dim > 0) for n in self.hidden_dims]
        for i, degree in enumerate(degrees):
            self.register_buffer(f"degrees_{i}", torch.tensor(degree), persistent=False)
        ranks = torch.tensor(np.stack([input_ranks(order) for order in self.orders]))
        self.register_buffer("ranks", ranks, persistent=False)

    def _degrees(self) -> list[Tensor]:
        return [getattr(self, f"degrees_{i}") for i in range(len(self.hidden_dims))]

    def _hidden(self, h: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """The last hidden units, from the sums of the first layer."""
        h = self.activation(h)
        for layer, weight in zip(self.layers[1:-1], weights, strict=True):
            y = self.activation(functional.linear(h, weight, layer.bias))
            h = h + y if self.residual and y.shape == h.shape else y
        return h

    def _hidden_weights(self) -> list[Tensor]:
        degrees = self._degrees()
        pairs = zip(self.layers[1:-1], degrees, degrees[1:], strict=False)
        return [
            torch.where(before[None] <= after[:, None], layer.weight, 0.0)
            for layer, before, after in pairs
        ]

    def run(self, x: Tensor, features: Tensor | None, order_index: int = 0) -> Tensor:
        x, degrees = x.flatten(1), self._degrees()
        rank_in = self.ranks[order_index].repeat_interleave(self.in_channels)
        rank_out = self.ranks[order_index].repeat_interleave(self.num_params)
        first, last = self.layers[0], self.layers[-1]
        mask = rank_in[None] < degrees[0][:, None]
        h = functional.linear(x, torch.where(mask, first.weight, 0.0), first.bias)
        if features is not None:
            h = h + self.context_layer(features.flatten(1))
        h = self._hidden(h, self._hidden_weights())
        mask = degrees[-1][None] <= rank_out[:, None]
        y = functional.linear(h, torch.where(mask, last.weight, 0.0), last.bias)
        if self.direct_layer is not None:
            mask = rank_in[None] < rank_out[:, None]
            y = y + functional.linear(x, torch.where(mask, self.direct_layer.weight, 0.0))
        return y.reshape(-1, *self.grid_shape, self.num_params)

    def init_cache(
        self, num_rows: int, context: Tensor | None = None, order_index: int = 0
    ) -> dict:
        """Return the sums of the first layer, those of the direct connections, and the weights."""
        h = self.layers[0].bias.expand(num_rows, -1)
        if context is not None:
            h = h + self.context_layer(self.features(context).flatten(1))
        direct = h.new_zeros(num_rows, self.num_positions * self.num_params)
        return {"sums": h, "direct": direct, "weights": self._hidden_weights()}

    def step(
        self, cache: dict, previous: Tensor, index: int, order_index: int = 0
    ) -> tuple[Tensor, dict]:
        order, degrees = self.orders[order_index], self._degrees()
        sums, direct = cache["sums"], cache["direct"]
        if index:
            place = order[index - 1] * self.in_channels
            columns = slice(place, place + self.in_channels)
            weight = self.layers[0].weight[:, columns].T * (degrees[0] > index - 1)
            sums = sums + previous @ weight
            if self.direct_layer is not None:
                direct = direct + previous @ self.direct_layer.weight[:, columns].T
        h = self._hidden(sums, cache["weights"])
        place, last = order[index] * self.num_params, self.layers[-1]
        rows = slice(place, place + self.num_params)
        weight = torch.where(degrees[-1][None] <= index, last.weight[rows], 0.0)
        params = functional.linear(h, weight, last.bias[rows]) + direct[:, rows]
        return params, {**cache, "sums": sums, "direct": direct}
