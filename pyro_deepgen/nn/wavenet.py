"""WaveNet: dilated causal convolutions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from .._numerics.checks import check_positive_int
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
        >>> import torch
        >>> WaveNet((64,), num_params=17)(torch.zeros(5, 64, 1)).shape
        torch.Size([5, 64, 17])

    References:
        van den Oord et al. 2016, WaveNet: A Generative Model for Raw Audio, equation 2.
    """

    def __init__(
        self,
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
        self.first = CausalConv(in_channels, hidden_dim, [(-k,) for k in range(num_taps, 0, -1)])
        self.blocks = nn.ModuleList(
            _Block(
                hidden_dim,
                [(-k * 2 ** (i % period),) for k in range(num_taps - 1, -1, -1)],
                context_dim,
            )
            for i in range(num_blocks)
        )
        self.head = nn.Linear(hidden_dim, hidden_dim)
        self.last = nn.Linear(hidden_dim, num_params)

    def _params(self, x: Tensor, features: Tensor | None, conv: Callable) -> Tensor:
        h, total = conv(self.first, x, lag=1), 0.0
        for block in self.blocks:
            h, skip = block(h, features, conv)
            total = total + skip
        return self.last(relu(self.head(relu(total))))

    def run(self, x, features):
        if features is not None:
            features = features.flatten(1, -2)
        params = self._params(x.flatten(1, -2), features, whole)
        return params.reshape(len(x), *self.grid_shape, self.num_params)

    def init_cache(self, num_rows: int, context: Tensor | None = None) -> dict:
        """Return the past inputs of every convolution."""
        convs = [self.first, *(block.dilated for block in self.blocks)]
        buffers = [conv.init_buffer(num_rows, (self.num_positions,)) for conv in convs]
        return {"buffers": buffers, "features": self.features_in_turn(context)}

    def step(self, cache: dict, previous: Tensor, index: int) -> tuple[Tensor, dict]:
        stepper = Stepper(cache["buffers"], index)
        params = self._params(previous, at(cache["features"], index), stepper)
        return params, {**cache, "buffers": stepper.done}


class _Block(nn.Module):
    def __init__(self, hidden_dim: int, offsets: Sequence, context_dim: int):
        super().__init__()
        self.dilated = CausalConv(hidden_dim, 2 * hidden_dim, offsets)
        self.residual, self.skip = (
            nn.Linear(hidden_dim, hidden_dim),
            nn.Linear(hidden_dim, hidden_dim),
        )
        self.context_layer = None
        if context_dim:
            self.context_layer = nn.Linear(context_dim, 2 * hidden_dim, bias=False)

    def forward(self, h: Tensor, features: Tensor | None, conv: Callable):
        y = conv(self.dilated, h)
        if features is not None:
            y = y + self.context_layer(features)
        value, gate = y.chunk(2, -1)
        z = torch.tanh(value) * torch.sigmoid(gate)
        return h + self.residual(z), self.skip(z)
