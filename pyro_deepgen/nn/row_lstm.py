"""Row LSTM: recurrence from row to row."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

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
        >>> RowLSTM((8, 8), num_params=17)(torch.zeros(5, 8, 8, 1)).shape
        torch.Size([5, 8, 8, 17])

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks,
        section 3.1, equation 3.
    """

    def make_layer(self, size: int, context_dim: int, is_first: bool) -> nn.Module:
        return _Layer(size, context_dim)


class _Layer(nn.Module):
    def __init__(self, size: int, context_dim: int):
        super().__init__()
        self.inputs = CausalConv(2 * size, 4 * size, [(0, -1), (0, 0)])
        self.states = CausalConv(size, 4 * size, [(-1, -1), (-1, 0), (-1, 1)])
        self.out = nn.Linear(size, 2 * size)
        self.context_layer = None
        if context_dim:
            self.context_layer = nn.Linear(context_dim, 4 * size, bias=False)

    def _from_above(self, h: Tensor) -> Tensor:
        """The convolution of the states of a row, as one product of shifted copies."""
        h = pad(h, (0, 0, 1, 1))
        taps = torch.cat([h[:, :-2], h[:, 1:-1], h[:, 2:]], -1)
        return taps @ self.states.weight.permute(2, 1, 0).flatten(0, 1) + self.states.bias

    def forward(self, x: Tensor, features: Tensor | None) -> Tensor:
        sums = self.inputs(x)
        if features is not None:
            sums = sums + self.context_layer(features)
        h = memory = x.new_zeros(len(x), x.shape[2], self.out.in_features)
        rows = []
        # indexing one by one would fill a whole gradient for each row
        for row in sums.unbind(1):
            h, memory = lstm_cell(row + self._from_above(h), memory)
            rows.append(h)
        return x + self.out(torch.stack(rows, 1))

    def init_cache(self, num_rows: int, grid_shape: tuple[int, ...]) -> dict:
        zeros = self.out.weight.new_zeros(num_rows, self.out.in_features)
        return {
            "inputs": self.inputs.init_buffer(num_rows, grid_shape),
            "states": self.states.init_buffer(num_rows, grid_shape),
            "last": zeros,
            "memory": [zeros] * grid_shape[1],
        }

    def step(self, x: Tensor, features: Tensor | None, cache: dict, index: int, place):
        sums, inputs = self.inputs.step(cache["inputs"], x, index)
        above, states = self.states.step(cache["states"], cache["last"], index, lag=1)
        if features is not None:
            sums = sums + self.context_layer(at(features, index))
        h, cache["memory"][place[1]] = lstm_cell(sums + above, cache["memory"][place[1]])
        return x + self.out(h), {**cache, "inputs": inputs, "states": states, "last": h}
