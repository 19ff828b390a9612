"""Diagonal BiLSTM: recurrence along the diagonals."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

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
        >>> import torch
        >>> DiagonalBiLSTM((8, 8), num_params=17)(torch.zeros(5, 8, 8, 1)).shape
        torch.Size([5, 8, 8, 17])

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks,
        section 3.2.
    """

    def make_layer(self, size: int, context_dim: int, is_first: bool) -> nn.Module:
        return _Layer(size, context_dim, self.in_channels if is_first else 0)

    def run(self, x, features):
        h = self.layers[0](self.first(x), features, x)
        for layer in self.layers[1:]:
            h = layer(h, features)
        return self.params(h)

    def step(self, cache: dict, previous: Tensor, index: int) -> tuple[Tensor, dict]:
        cache["layers"][0]["seen"][:, (index - 1) % self.grid_shape[1]] = previous
        return super().step(cache, previous, index)


class _Layer(nn.Module):
    """Both directions, the one from the right with numbers of its positions' own, if any."""

    def __init__(self, size: int, context_dim: int, in_channels: int):
        super().__init__()
        self.size = size
        self.from_left, self.from_right = _Direction(size), _Direction(size)
        self.own = nn.Linear(in_channels, 4 * size, bias=False) if in_channels else None
        self.out = nn.Linear(size, 2 * size)
        self.context_layer = None
        if context_dim:
            self.context_layer = nn.Linear(context_dim, 8 * size, bias=False)

    def _sums(
        self, x: Tensor, features: Tensor | None, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What inputs and context add to the gates of both directions."""
        added = (0.0, 0.0) if features is None else self.context_layer(features).chunk(2, -1)
        left, right = self.from_left.inputs(x) + added[0], self.from_right.inputs(x) + added[1]
        return left, right if own is None else right + self.own(own)

    def forward(self, x: Tensor, features: Tensor | None, own: Tensor | None = None) -> Tensor:
        left, right = self._sums(x, features, own)
        left = self.from_left(left)
        right = self.from_right(right.flip(2)).flip(2)
        right = torch.cat([torch.zeros_like(right[:, :1]), right[:, :-1]], 1)
        return x + self.out(left + right)

    def init_cache(self, num_rows: int, grid_shape: tuple[int, ...]) -> dict:
        zeros = self.out.weight.new_zeros(num_rows, self.size)
        columns = self.out.weight.new_zeros(num_rows, grid_shape[1], self.size)
        cache = {
            # states of the row so far and, behind it, of the row above
            "left": columns,
            "last": (zeros, zeros),
            "right": columns.clone(),
            "row": torch.cat([columns, columns], -1),
        }
        if self.own is None:
            return cache
        # inputs of the network, of the row so far
        return {**cache, "seen": zeros.new_zeros(*columns.shape[:2], self.own.in_features)}

    def step(self, x: Tensor, features: Tensor | None, cache: dict, index: int, place):
        row, column = place
        if column == 0:
            zeros = torch.zeros_like(cache["last"][0])
            cache = {**cache, "last": (zeros, zeros)}
            if row > 0:
                context = None if features is None else at_row(features, row - 1, cache["row"])
                right = self._sums(cache["row"], context, cache.get("seen"))[1]
                cache["right"] = self.from_right.along_row(right, cache["right"])
        cache["row"][:, column] = x
        context = None if features is None else at(features, index)
        sums = self._sums(x, context)[0]
        h, memory = self.from_left.cell(sums, *cache["last"], cache["left"][:, column])
        cache["left"][:, column] = h
        y = x + self.out(h + cache["right"][:, column])
        return y, {**cache, "last": (h, memory)}


def at_row(features: Tensor, row: int, like: Tensor) -> Tensor:
    """Return the features of a row, ``(N, columns or 1, ...)``, from those of a cache."""
    columns = like.shape[1]
    part = features[row * columns : (row + 1) * columns] if len(features) > 1 else features
    return part.transpose(0, 1)


class _Direction(nn.Module):
    """From the upper left corner to the lower right one."""

    def __init__(self, size: int):
        super().__init__()
        self.inputs = nn.Linear(2 * size, 4 * size)
        self.states = nn.Linear(2 * size, 4 * size)

    def cell(self, sums: Tensor, before: Tensor, memory: Tensor, above: Tensor):
        """State and memory, given those before it in its row and the state above."""
        return lstm_cell(sums + self.states(torch.cat([before, above], -1)), memory)

    def forward(self, sums: Tensor) -> Tensor:
        num_rows, height, width, _ = sums.shape
        # row i moves i columns to the right, so that a column is a diagonal
        skewed = pad(sums, (0, 0, 0, height)).flatten(1, 2)[:, : height * (width + height - 1)]
        skewed = skewed.unflatten(1, (height, -1))
        inside = pad(sums.new_ones(height, width), (0, height)).flatten()
        inside = inside[: height * (width + height - 1)].unflatten(0, (height, -1)).unsqueeze(-1)
        h = memory = sums.new_zeros(num_rows, height, sums.shape[-1] // 4)
        found = []
        # indexing one by one would fill a whole gradient for each diagonal
        for diagonal, exists in zip(skewed.unbind(2), inside.unbind(1), strict=True):
            above = pad(h, (0, 0, 1, 0))[:, :-1]
            h, memory = self.cell(diagonal, h, memory, above)
            h, memory = h * exists, memory * exists
            found.append(h)
        flat = pad(torch.stack(found, 2).flatten(1, 2), (0, 0, 0, height))
        return flat.unflatten(1, (height, -1))[:, :, :width]

    def along_row(self, sums: Tensor, above: Tensor) -> Tensor:
        """The states of one row, from its last column to the first."""
        h = memory = torch.zeros_like(above[:, 0])
        found = []
        for column in reversed(range(sums.shape[1])):
            h, memory = self.cell(sums[:, column], h, memory, above[:, column])
            found.append(h)
        return torch.stack(found[::-1], 1)
