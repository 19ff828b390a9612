"""The part that blocks of transformers share, whatever their positions attend to."""

from torch import Tensor, nn
from torch.nn.functional import gelu

from .._numerics.checks import check_positive_int

__all__ = ["AttentionBlock"]


class AttentionBlock(nn.Module):
    r"""Normalisation and linear maps around an attention, and the dense layers behind it.

    Args:
        hidden_dim: width, a multiple of ``num_heads``.
        num_heads: number of heads.

    Raises:
        ValueError: if ``num_heads`` does not divide ``hidden_dim``.
    """

    def __init__(self, hidden_dim: int, num_heads: int):
        super().__init__()
        if check_positive_int("hidden_dim", hidden_dim) % check_positive_int(
            "num_heads", num_heads
        ):
            raise ValueError(
                f"num_heads must divide hidden_dim={hidden_dim}, got {num_heads}; pass for example "
                "1."
            )
        self.num_heads = num_heads
        self.attention_norm, self.dense_norm = nn.LayerNorm(hidden_dim), nn.LayerNorm(hidden_dim)
        self.attention_in = nn.Linear(hidden_dim, 3 * hidden_dim)
        self.attention_out = nn.Linear(hidden_dim, hidden_dim)
        self.dense_in = nn.Linear(hidden_dim, 4 * hidden_dim)
        self.dense_out = nn.Linear(4 * hidden_dim, hidden_dim)

    def _heads(self, h: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, ``(..., num_heads, size)``."""
        parts = self.attention_in(self.attention_norm(h)).chunk(3, -1)
        return tuple(part.unflatten(-1, (self.num_heads, -1)) for part in parts)

    def _finish(self, h: Tensor, attended: Tensor) -> Tensor:
        h = h + self.attention_out(attended.flatten(-2))
        return h + self.dense_out(gelu(self.dense_in(self.dense_norm(h))))
