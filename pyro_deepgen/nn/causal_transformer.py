"""A causal transformer over the positions of a grid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .._numerics.checks import check_positive_int
from .attention_block import AttentionBlock
from .autoregressive_network import AutoregressiveNetwork, at

__all__ = ["CausalTransformer"]


class CausalTransformer(AutoregressiveNetwork):
    r"""A transformer whose positions attend to themselves and to earlier ones.

    Each position starts as the embedded input of the position before it plus a learned vector of
    its own, and passes through blocks
    :math:`h \leftarrow h + \mathrm{attention}(\mathrm{norm}(h))`,
    :math:`h \leftarrow h + \mathrm{dense}(\mathrm{norm}(h))`. Sampling keeps keys and values.

    Args:
        grid_shape: shape of the grid, any number of axes; positions go in raster order.
        num_params: parameters of one position.
        hidden_dim: width, a multiple of ``num_heads``.
        num_blocks: number of blocks.
        num_heads: number of heads of the attention.
        in_channels: numbers of one position.
        context_dim: size of the context, 0 for none; it is added to the start of each position.
        context_kind: ``'vector'``, ``'label'`` or ``'image'``.

    Shape:
        ``(..., *grid_shape, in_channels)`` to ``(..., *grid_shape, num_params)``.

    Raises:
        ValueError: if ``num_heads`` does not divide ``hidden_dim``.

    Example:
        >>> import torch
        >>> CausalTransformer((8, 8), num_params=17)(torch.zeros(5, 8, 8, 1)).shape
        torch.Size([5, 8, 8, 17])

    References:
        Vaswani et al. 2017, Attention Is All You Need, section 3.2; Chen et al. 2020, Generative
        Pretraining from Pixels, section 2.
    """

    def __init__(
        self,
        grid_shape: Sequence[int],
        num_params: int = 1,
        hidden_dim: int = 64,
        num_blocks: int = 4,
        num_heads: int = 4,
        in_channels: int = 1,
        context_dim: int = 0,
        context_kind: str = "vector",
    ):
        super().__init__(grid_shape, num_params, in_channels, context_dim, context_kind)
        hidden_dim = check_positive_int("hidden_dim", hidden_dim)
        self.embedding = nn.Linear(in_channels, hidden_dim)
        self.positions = nn.Parameter(0.02 * torch.randn(self.num_positions, hidden_dim))
        self.context_layer = None
        if context_dim:
            self.context_layer = nn.Linear(context_dim, hidden_dim, bias=False)
        self.blocks = nn.ModuleList(
            _Block(hidden_dim, num_heads)
            for _ in range(check_positive_int("num_blocks", num_blocks))
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.last = nn.Linear(hidden_dim, num_params)

    def run(self, x, features):
        x = x.flatten(1, -2)
        previous = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        h = self.embedding(previous) + self.positions
        if features is not None:
            h = h + self.context_layer(features.flatten(1, -2))
        for block in self.blocks:
            h = block(h)
        return self.last(self.norm(h)).reshape(len(x), *self.grid_shape, self.num_params)

    def init_cache(self, num_rows: int, context: Tensor | None = None) -> dict:
        """Return room for the keys and values of all positions."""
        caches = [block.init_cache(num_rows, self.num_positions) for block in self.blocks]
        return {"blocks": caches, "features": self.features_in_turn(context)}

    def step(self, cache: dict, previous: Tensor, index: int) -> tuple[Tensor, dict]:
        h = self.embedding(previous) + self.positions[index]
        features = at(cache["features"], index)
        if features is not None:
            h = h + self.context_layer(features)
        for block, known in zip(self.blocks, cache["blocks"], strict=True):
            h = block.step(h, known, index)
        return self.last(self.norm(h)), cache


class _Block(AttentionBlock):
    def forward(self, h: Tensor) -> Tensor:
        heads = (part.transpose(1, 2) for part in self._heads(h))
        return self._finish(h, scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2))

    def init_cache(self, num_rows: int, num_positions: int) -> Tensor:
        weight = self.attention_out.weight
        size = len(weight) // self.num_heads
        return weight.new_zeros(2, num_rows, self.num_heads, num_positions, size)

    def step(self, h: Tensor, known: Tensor, index: int) -> Tensor:
        query, key, value = self._heads(h)
        known[0, :, :, index], known[1, :, :, index] = key, value
        keys, values = known[:, :, :, : index + 1]
        scores = (keys @ query.unsqueeze(-1)).squeeze(-1) / math.sqrt(query.shape[-1])
        return self._finish(h, (scores.softmax(-1).unsqueeze(-2) @ values).squeeze(-2))
