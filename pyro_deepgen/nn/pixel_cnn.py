"""PixelCNN: residual masked convolutions."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._numerics.checks import check_positive_int
from .._numerics.orders import causal_offsets, check_grid_axes
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
        >>> import torch
        >>> PixelCNN((8, 8), num_params=17)(torch.zeros(5, 8, 8, 1)).shape
        torch.Size([5, 8, 8, 17])

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu 2016, Pixel Recurrent Neural Networks, section 3.4
        and table 1; He, Zhang, Ren & Sun 2015, Delving Deep into Rectifiers, section 2.2.
    """

    def __init__(
        self,
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
        self.activation = activation_function(activation)
        width = 2 * check_positive_int("hidden_dim", hidden_dim)
        num_axes = len(self.grid_shape)
        self.first = CausalConv(
            in_channels,
            width,
            causal_offsets((kernel_size,) * num_axes, include_center=False),
            init_scale=RECTIFIED,
        )
        self.positions = (
            nn.Parameter(torch.zeros(*self.grid_shape, width)) if learned_positions else None
        )
        offsets = causal_offsets((3,) * num_axes, include_center=True)
        self.blocks = nn.ModuleList(
            _Block(hidden_dim, offsets, context_dim, self.activation)
            for _ in range(check_positive_int("num_blocks", num_blocks))
        )
        head_dim = width if head_dim is None else check_positive_int("head_dim", head_dim)
        self.head = _rectified(width, head_dim)
        self.last = nn.Linear(head_dim, num_params)

    def _params(
        self, x: Tensor, features: Tensor | None, conv: Callable, index: int | None = None
    ) -> Tensor:
        h = plus_positions(conv(self.first, x, lag=1), self.positions, index)
        for block in self.blocks:
            h = block(h, features, conv)
        return self.last(self.activation(self.head(self.activation(h))))

    def run(self, x, features):
        return self._params(x, features, whole)

    def init_cache(self, num_rows: int, context: Tensor | None = None) -> dict:
        """Return the past inputs of every masked convolution."""
        convs = [self.first, *(block.masked for block in self.blocks)]
        buffers = [conv.init_buffer(num_rows, self.grid_shape) for conv in convs]
        return {"buffers": buffers, "features": self.features_in_turn(context)}

    def step(self, cache: dict, previous: Tensor, index: int) -> tuple[Tensor, dict]:
        stepper = Stepper(cache["buffers"], index)
        params = self._params(previous, at(cache["features"], index), stepper, index)
        return params, {**cache, "buffers": stepper.done}


class _Block(nn.Module):
    def __init__(self, hidden_dim: int, offsets: Sequence, context_dim: int, activation: Callable):
        super().__init__()
        self.activation = activation
        self.narrow = _rectified(2 * hidden_dim, hidden_dim)
        self.masked = CausalConv(hidden_dim, hidden_dim, offsets, init_scale=RECTIFIED)
        self.widen = nn.Linear(hidden_dim, 2 * hidden_dim)
        self.context_layer = None
        if context_dim:
            self.context_layer = nn.Linear(context_dim, hidden_dim, bias=False)

    def forward(self, h: Tensor, features: Tensor | None, conv: Callable) -> Tensor:
        y = conv(self.masked, self.activation(self.narrow(self.activation(h))))
        if features is not None:
            y = y + self.context_layer(features)
        return h + self.widen(self.activation(y))


def _rectified(input_dim: int, output_dim: int) -> nn.Linear:
    """A linear layer in front of an activation."""
    layer = nn.Linear(input_dim, output_dim)
    with torch.no_grad():
        layer.weight.mul_(RECTIFIED)
    return layer
