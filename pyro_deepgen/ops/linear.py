"""Products, triangular matrices and orthonormal frames from unconstrained entries."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "bounded_exp",
    "low_rank_factor",
    "matvec",
    "orthonormal_columns",
    "reflect",
    "strict_lower",
    "unit_lower_solve",
]

MAX_LOG_SCALE = 30.0


def bounded_exp(raw: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`e^{s}` and :math:`s = 30 \tanh(a / 30)` of unconstrained ``a``, any shape."""
    log_scale = MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE)
    return log_scale.exp(), log_scale


def low_rank_factor(vectors: Tensor, variances: Tensor) -> Tensor:
    r"""Return the lower triangular ``L`` with :math:`L L^T = W W^T + \operatorname{diag}(d)`.

    Columns of ``W`` are added one after the other to :math:`N \operatorname{diag}(d) N^T`, with
    ``N`` unit lower triangular: with :math:`N p = w` and
    :math:`t_j = 1 + \sum_{k \le j} p_k^2 / d_k`,

    .. math::
        d_j \leftarrow d_j \, t_j / t_{j-1}, \qquad
        N_{ij} \leftarrow N_{ij} + \frac{p_j}{d_j t_j} \sum_{k > j} N_{ik} p_k,

    on the right the ``d`` of before. Variances are products of positive numbers, so that there is a
    factor wherever there is a density, where that of the sum of the matrices fails by rounding.

    Args:
        vectors: the columns ``W``, shape ``batch_shape + (D, R)``.
        variances: the positive ``d``, shape ``batch_shape + (D,)``.

    Returns:
        Matrices of shape ``batch_shape + (D, D)``.

    References:
        Gill, Golub, Murray & Saunders 1974, Methods for Modifying Matrix Factorizations, method C1.
    """
    shape = torch.broadcast_shapes(vectors.shape[:-1], variances.shape)
    d, eye = variances.expand(shape), torch.eye(shape[-1]).to(variances)
    lower = eye.expand(shape + shape[-1:])
    for w in vectors.expand(shape + vectors.shape[-1:]).unbind(-1):
        p = torch.linalg.solve_triangular(lower, w.unsqueeze(-1), upper=False, unitriangular=True)
        p = p.squeeze(-1)
        t = 1.0 + (p.square() / d).cumsum(-1)
        before = torch.cat([torch.ones_like(t[..., :1]), t[..., :-1]], -1)
        terms = (lower * p.unsqueeze(-2)).flip(-1).cumsum(-1).flip(-1)
        later = torch.cat([terms[..., 1:], torch.zeros_like(terms[..., :1])], -1)
        lower = lower + later * (p / (d * t)).unsqueeze(-2)
        d = d * (t / before)
    return lower.tril() * d.sqrt().unsqueeze(-2)


def matvec(matrix: Tensor, x: Tensor) -> Tensor:
    """Return the product of matrices ``batch_shape + (M, D)`` and vectors ``batch_shape + (D,)``.

    A single matrix is applied to all vectors at once.
    """
    if matrix.ndim == 2:
        return x @ matrix.mT
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def orthonormal_columns(matrix: Tensor) -> Tensor:
    """Orthonormalise the columns of ``batch_shape + (D, M)``, ``M <= D``, from left to right."""
    frame, upper = torch.linalg.qr(matrix)
    # a unique factorisation: the diagonal of R positive
    signs = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(frame.dtype)
    return frame * signs.unsqueeze(-2)


def reflect(x: Tensor, vectors: Sequence[Tensor]) -> Tensor:
    r"""Apply the reflections :math:`x \mapsto x - 2 v (v^T x) / |v|^2` one after the other.

    Args:
        x: shape ``batch_shape + (D,)``.
        vectors: the normals ``v``, each of a shape broadcastable to ``batch_shape + (D,)``; one of
            length zero changes nothing.
    """
    smallest = torch.finfo(x.dtype).tiny ** 0.5
    for v in vectors:
        norm = v.square().sum(-1, keepdim=True).clamp(min=smallest)
        x = x - v * (2.0 * (x * v).sum(-1, keepdim=True) / norm)
    return x


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
