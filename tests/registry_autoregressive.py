"""One case an autoregressive network: how to build it on a grid; the laws run over them."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AUTOREGRESSIVE_NAMES", "NETWORKS", "NetworkCase"]


@dataclass(frozen=True)
class NetworkCase:
    """How to build one network.

    Args:
        name: the public name.
        recipe: name of the recipe that builds a distribution of it.
        sizes: keyword arguments that make it small.
        is_flat: whether its grid is the sequence of positions.
        cost: 0 where JAX compiles it fast; the other cases are slow ones there.
    """

    name: str
    recipe: str
    sizes: tuple[tuple[str, object], ...]
    is_flat: bool = False
    cost: int = 1

    def __str__(self) -> str:
        return self.name

    def build(self, b, grid_shape, num_params: int = 1, **kwargs):
        size = 1
        for n in grid_shape:
            size *= n
        grid_shape = size if self.name == "MADE" else (size,) if self.is_flat else grid_shape
        builder: Callable = getattr(b.nn, self.name)
        return b.make(builder, grid_shape, num_params, **dict(self.sizes), **kwargs)

    def distribution(self, b, event_shape, conditional, **kwargs):
        sizes = {**dict(self.sizes), **kwargs}
        return b.make(getattr(b.D, self.recipe), event_shape, conditional, **sizes)


NETWORKS = [
    NetworkCase("MADE", "made", (("hidden_dims", (24, 24)), ("residual", True)), True, cost=0),
    NetworkCase("PixelCNN", "pixel_cnn", (("hidden_dim", 4), ("num_blocks", 2))),
    NetworkCase("GatedPixelCNN", "gated_pixel_cnn", (("hidden_dim", 4), ("num_blocks", 2))),
    NetworkCase(
        "PixelCNNPlusPlus",
        "pixel_cnn_plus_plus",
        (("hidden_dim", 4), ("num_blocks", 1), ("num_scales", 2)),
    ),
    NetworkCase("RowLSTM", "row_lstm", (("hidden_dim", 4), ("num_layers", 2))),
    NetworkCase("DiagonalBiLSTM", "diagonal_bilstm", (("hidden_dim", 4), ("num_layers", 2))),
    NetworkCase(
        "WaveNet",
        "wavenet",
        (("hidden_dim", 8), ("num_blocks", 4), ("num_dilations", 3)),
        is_flat=True,
    ),
    NetworkCase(
        "CausalTransformer", "image_gpt", (("hidden_dim", 8), ("num_blocks", 2), ("num_heads", 2))
    ),
    NetworkCase(
        "VideoTransformer",
        "video_transformer",
        (
            *(("hidden_dim", 8), ("num_blocks", 2), ("num_heads", 2)),
            *(("factors", (1, 2)), ("block_shapes", ((2, 2), (1, 3)))),
        ),
    ),
]

AUTOREGRESSIVE_NAMES = {
    *(f"nn.{case.name}" for case in NETWORKS),
    *(f"distributions.{case.recipe}" for case in NETWORKS),
    # what they are made of and give
    "nn.AutoregressiveNetwork",
    "nn.BlockLocalAttention",
    "nn.CausalConv",
    "distributions.AmortizedAutoregressive",
    "distributions.Autoregressive",
    "distributions.AutoregressiveDistribution",
    "distributions.AutoregressiveTransform",
    "distributions.GivenSample",
    "distributions.raster_order",
    "distributions.random_order",
    "distributions.reverse_order",
    "distributions.snake_order",
    "distributions.subscale_order",
}
