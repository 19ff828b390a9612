"""Triangular matrices from unconstrained entries."""

import torch
from torch import Tensor

__all__ = ["bounded_exp", "strict_lower", "unit_lower_solve"]

MAX_LOG_SCALE = 30.0


def bounded_exp(raw: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`e^{s}` and :math:`s = 30 \tanh(a / 30)` of unconstrained ``a``, any shape."""
    log_scale = MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE)
    return log_scale.exp(), log_scale


def strict_lower(entries: Tensor, dim: int) -> Tensor:
    """Fill strictly lower triangular matrices, row by row.

    Args:
        entries: shape ``batch_shape + (dim * (dim - 1) / 2,)``.
        dim: number of rows.

    Returns:
        Matrices of shape ``batch_shape + (dim, dim)``.
    """
    rows, columns = torch.tril_indices(dim, dim, offset=-1, device=entries.device).unbind()
    matrix = entries.new_zeros(entries.shape[:-1] + (dim, dim))
    matrix[..., rows, columns] = entries
    return matrix


def unit_lower_solve(lower: Tensor, y: Tensor) -> Tensor:
    """Solve ``(I + lower) x = y`` for strictly lower triangular ``lower`` (broadcasting).

    Args:
        lower: shape ``batch_shape + (D, D)``.
        y: shape broadcastable to ``batch_shape + (D,)``.
    """
    shape = torch.broadcast_shapes(lower.shape[:-2], y.shape[:-1])
    y = y.expand(shape + y.shape[-1:]).unsqueeze(-1)
    solution = torch.linalg.solve_triangular(lower, y, upper=False, unitriangular=True)
    return solution.squeeze(-1)
