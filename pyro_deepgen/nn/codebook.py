"""The vectors that codes stand for."""

import torch
from torch import Tensor, nn

from .._numerics.checks import check_positive, check_positive_int

__all__ = ["Codebook"]


class Codebook(nn.Module):
    r"""Vectors of codes, learned by gradients, or as moving averages of what is nearest to them.

    With :math:`n_k` inputs of a batch nearest to :math:`e_k`, and :math:`s_k` their sum,

    .. math::
        N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \qquad
        e_k \leftarrow e_k + (1 - \gamma) \frac{s_k - n_k e_k}{N_k},

    which is the ratio of the moving averages of :math:`s_k` and :math:`n_k`. Vectors without inputs
    stay where they are. What a batch changes holds from the next :meth:`refresh`, so that all of a
    step sees the same vectors.

    Args:
        num_codes: number ``K`` of vectors.
        code_dim: size ``D`` of a vector.
        decay: :math:`\gamma` in (0, 1), None for gradients.

    Raises:
        ValueError: if a size or the decay is out of range.

    Example:
        >>> book = Codebook(2, 1, decay=0.5)
        >>> book.observe(torch.ones(4, 1), torch.zeros(4, dtype=torch.long))
        >>> before = book.weight.clone()
        >>> book.refresh()
        >>> bool((book.weight - before)[0] != 0), bool((book.weight - before)[1] == 0)
        (True, True)

    References:
        van den Oord, Vinyals & Kavukcuoglu 2017, Neural discrete representation learning,
        equations 6-8.
    """

    def __init__(self, num_codes: int, code_dim: int, decay: float | None = None):
        super().__init__()
        num_codes = check_positive_int("num_codes", num_codes, minimum=2)
        weight = torch.randn(num_codes, check_positive_int("code_dim", code_dim))
        self.decay = None if decay is None else check_positive("decay", decay, 1.0)
        if decay is None:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("ahead", weight.clone())
            self.register_buffer("size", torch.ones(num_codes))

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over what was observed."""
        if self.decay is not None:
            self.weight.copy_(self.ahead)

    def observe(self, inputs: Tensor, codes: Tensor) -> None:
        """Move the averages towards a batch, in training mode while gradients are recorded.

        Args:
            inputs: shape ``(M, D)``.
            codes: index of the vector nearest to each, shape ``(M,)``.
        """
        if self.decay is None or not (self.training and torch.is_grad_enabled()):
            return
        with torch.no_grad():
            rate, ahead = 1.0 - self.decay, self.ahead
            count = torch.bincount(codes, minlength=len(ahead)).to(ahead)
            total = torch.zeros_like(ahead).index_add_(0, codes, inputs.to(ahead))
            # van den Oord et al. 2017, eq. 6-8
            size = self.decay * self.size + rate * count
            safe = size.clamp(min=torch.finfo(size.dtype).tiny)[:, None]
            self.ahead = ahead + rate * (total - count[:, None] * ahead) / safe
            self.size = size

    @torch.no_grad()
    def move(self, chosen: Tensor, vectors: Tensor) -> None:
        """Put other vectors, shape ``(K, D)``, in the place of those chosen, shape ``(K,)``."""
        moving = () if self.decay is None else (self.ahead,)
        for book in (self.weight, *moving):
            book.copy_(torch.where(chosen[:, None], vectors.to(book), book))
        if self.decay is not None:
            self.size.copy_(torch.where(chosen, 1.0, self.size))
