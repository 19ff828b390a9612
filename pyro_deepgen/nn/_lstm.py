"""What recurrent networks of images share: the cell, and the layers between two convolutions."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from .._numerics.checks import check_positive_int
from .._numerics.orders import causal_offsets, check_image_grid
from .autoregressive_network import AutoregressiveNetwork
from .causal_convolution import CausalConv

__all__ = ["ImageLSTM", "lstm_cell"]


def lstm_cell(sums: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return state and memory from the sums of all gates, ``(..., 4 h)``, and the memory."""
    output, forget, write, value = sums.chunk(4, -1)
    memory = torch.sigmoid(forget) * memory + torch.sigmoid(write) * torch.tanh(value)
    return torch.sigmoid(output) * torch.tanh(memory), memory


class ImageLSTM(AutoregressiveNetwork):
    """Base class: a masked convolution, recurrent layers, and two layers of every position.

    Arguments are told in the subclasses, which write the layer.
    """

    def __init__(
        self,
        grid_shape: Sequence[int],
        num_params: int = 1,
        hidden_dim: int = 16,
        num_layers: int = 7,
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
        kernel_size: int = 7,
    ):
        super().__init__(grid_shape, num_params, in_channels, context_dim, context_kind)
        check_image_grid(self.grid_shape)
        size = check_positive_int("hidden_dim", hidden_dim)
        num_layers = check_positive_int("num_layers", num_layers)
        offsets = causal_offsets((kernel_size, kernel_size), include_center=False)
        self.first = CausalConv(in_channels, 2 * size, offsets)
        self.layers = nn.ModuleList(
            self.make_layer(size, context_dim, i == 0) for i in range(num_layers)
        )
        self.head, self.last = nn.Linear(2 * size, 2 * size), nn.Linear(2 * size, num_params)

    @abstractmethod
    def make_layer(self, size: int, context_dim: int, is_first: bool) -> nn.Module:
        """A layer of states of a size between inputs and outputs of twice that."""

    def run(self, x, features):
        h = self.first(x)
        for layer in self.layers:
            h = layer(h, features)
        return self.params(h)

    def params(self, h: Tensor) -> Tensor:
        """The parameters of positions, from what the layers give."""
        return self.last(relu(self.head(relu(h))))

    def init_cache(self, num_rows: int, context: Tensor | None = None) -> dict:
        """Return the states that later positions see."""
        return {
            "first": self.first.init_buffer(num_rows, self.grid_shape),
            "layers": [layer.init_cache(num_rows, self.grid_shape) for layer in self.layers],
            "features": self.features_in_turn(context),
        }

    def step(self, cache: dict, previous: Tensor, index: int) -> tuple[Tensor, dict]:
        h, first = self.first.step(cache["first"], previous, index, lag=1)
        features, place = cache["features"], divmod(index, self.grid_shape[1])
        caches = []
        for layer, known in zip(self.layers, cache["layers"], strict=True):
            h, known = layer.step(h, features, known, index, place)
            caches.append(known)
        return self.params(h), {**cache, "first": first, "layers": caches}
