"""A causal transformer over the positions of a grid."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from .._numerics.checks import check_positive_int
from ..ops._random import check_rng_key
from ._linear import Linear
from .attention_block import AttentionBlock, LayerNorm
from .autoregressive_network import AutoregressiveNetwork, at

__all__ = ["CausalTransformer"]

# queries of one product, which on a CPU was as fast as half or a few more
PART = 112


class CausalTransformer(AutoregressiveNetwork):
    r"""A transformer whose positions attend to themselves and to earlier ones.

    Each position starts as the embedded input of the position before it plus a learned vector of
    its own, and passes through blocks
    :math:`h \leftarrow h + \mathrm{attention}(\mathrm{norm}(h))`,
    :math:`h \leftarrow h + \mathrm{dense}(\mathrm{norm}(h))`. Sampling keeps keys and values.

    Args:
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> network = CausalTransformer(jax.random.key(0), (8, 8), num_params=17)
        >>> network(jnp.zeros((5, 8, 8, 1))).shape
        (5, 8, 8, 17)

    References:
        Vaswani et al. 2017, Attention Is All You Need, section 3.2; Chen et al. 2020, Generative
        Pretraining from Pixels, section 2.
    """

    embedding: Linear
    positions: Array
    context_layer: Linear | None
    blocks: tuple["_Block", ...]
    norm: LayerNorm
    last: Linear

    def __init__(
        self,
        rng_key: Array,
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
        num_blocks = check_positive_int("num_blocks", num_blocks)
        keys = jax.random.split(check_rng_key(rng_key), num_blocks + 4)
        self.embedding = Linear(keys[0], in_channels, hidden_dim)
        self.positions = 0.02 * jax.random.normal(keys[1], (self.num_positions, hidden_dim))
        self.context_layer = None
        if context_dim:
            self.context_layer = Linear(keys[2], context_dim, hidden_dim, use_bias=False)
        self.blocks = tuple(_Block(key, hidden_dim, num_heads) for key in keys[4:])
        self.norm = LayerNorm(hidden_dim)
        self.last = Linear(keys[3], hidden_dim, num_params)

    def run(self, x, features):
        x = x.reshape(len(x), -1, self.in_channels)
        previous = jnp.concatenate([jnp.zeros_like(x[:, :1]), x[:, :-1]], 1)
        h = self.embedding(previous) + self.positions
        if features is not None:
            h = h + self.context_layer(features.reshape(len(x), -1, self.context_dim))
        for block in self.blocks:
            h = block(h)
        return self.last(self.norm(h)).reshape(len(x), *self.grid_shape, self.num_params)

    def init_cache(self, num_rows: int, context: Array | None = None) -> dict:
        """Return room for the keys and values of all positions."""
        caches = [block.init_cache(num_rows, self.num_positions) for block in self.blocks]
        return {"blocks": caches, "features": self.features_in_turn(context)}

    def step(self, cache: dict, previous: Array, index: Array) -> tuple[Array, dict]:
        h = self.embedding(previous) + self.positions[index]
        features = at(cache["features"], index)
        if features is not None:
            h = h + self.context_layer(features)
        caches = []
        for block, known in zip(self.blocks, cache["blocks"], strict=True):
            h, known = block.step(h, known, index)
            caches.append(known)
        return self.last(self.norm(h)), {**cache, "blocks": caches}


class _Block(AttentionBlock):
    def __call__(self, h: Array) -> Array:
        heads = (part.swapaxes(1, 2) for part in self._heads(h))
        return self._finish(h, _causal_attention(*heads).swapaxes(1, 2))

    def init_cache(self, num_rows: int, num_positions: int) -> dict:
        weight = self.attention_out.weight
        shape = (num_rows, self.num_heads, num_positions, len(weight) // self.num_heads)
        return {"keys": jnp.zeros(shape, weight.dtype), "values": jnp.zeros(shape, weight.dtype)}

    def step(self, h: Array, known: dict, index: Array) -> tuple[Array, dict]:
        query, key, value = self._heads(h)
        keys = known["keys"].at[:, :, index].set(key)
        values = known["values"].at[:, :, index].set(value)
        scores = jnp.einsum("nhps,nhs->nhp", keys, query) / math.sqrt(query.shape[-1])
        scores = jnp.where(jnp.arange(keys.shape[2]) <= index, scores, -jnp.inf)
        attended = jnp.einsum("nhp,nhps->nhs", jax.nn.softmax(scores, -1), values)
        return self._finish(h, attended), {"keys": keys, "values": values}


def _causal_attention(query: Array, key: Array, value: Array) -> Array:
    """Attend to the same and earlier positions of ``(N, num_heads, positions, size)``.

    Queries go in parts, each with the keys up to its end, and scores are computed again for
    gradients: half of the work, and none of the memory of all scores (Rabe & Staats 2021).
    """
    parts = []
    for start in range(0, query.shape[2], PART):
        stop = min(start + PART, query.shape[2])
        parts.append(_attend(query[:, :, start:stop], key[:, :, :stop], value[:, :, :stop], start))
    return jnp.concatenate(parts, 2)


@partial(jax.checkpoint, static_argnums=3)
def _attend(query: Array, key: Array, value: Array, start: int) -> Array:
    """Attention of the queries from position ``start`` on."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    later = jnp.arange(key.shape[2]) > start + jnp.arange(query.shape[2])[:, None]
    scores = jnp.where(later, -jnp.inf, scores)
    weights = jnp.exp(scores - lax.stop_gradient(scores.max(-1, keepdims=True)))
    # divided last: there are fewer features than scores
    return (weights @ value) / weights.sum(-1, keepdims=True)
