"""Products, triangular matrices and orthonormal frames from unconstrained entries."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ._clamp import clamp

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


def bounded_exp(raw: Array) -> tuple[Array, Array]:
    r"""Return :math:`e^{s}` and :math:`s = 30 \tanh(a / 30)` of unconstrained ``a``, any shape."""
    log_scale = MAX_LOG_SCALE * jnp.tanh(raw / MAX_LOG_SCALE)
    return jnp.exp(log_scale), log_scale


def low_rank_factor(vectors: Array, variances: Array) -> Array:
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
    shape = jnp.broadcast_shapes(vectors.shape[:-1], variances.shape)
    d, eye = jnp.broadcast_to(variances, shape), jnp.eye(shape[-1], dtype=variances.dtype)
    lower = jnp.broadcast_to(eye, shape + shape[-1:])
    vectors = jnp.broadcast_to(vectors, shape + vectors.shape[-1:])
    for w in jnp.moveaxis(vectors, -1, 0):
        p = triangular_solve(lower, w[..., None], unit_diagonal=True)[..., 0]
        t = 1.0 + jnp.cumsum(jnp.square(p) / d, -1)
        before = jnp.concatenate([jnp.ones_like(t[..., :1]), t[..., :-1]], -1)
        terms = jnp.flip(jnp.cumsum(jnp.flip(lower * p[..., None, :], -1), -1), -1)
        later = jnp.concatenate([terms[..., 1:], jnp.zeros_like(terms[..., :1])], -1)
        lower = lower + later * (p / (d * t))[..., None, :]
        d = d * (t / before)
    return jnp.tril(lower) * jnp.sqrt(d)[..., None, :]


def matvec(matrix: Array, x: Array) -> Array:
    """Return the product of matrices ``batch_shape + (M, D)`` and vectors ``batch_shape + (D,)``.

    A single matrix is applied to all vectors at once.
    """
    if matrix.ndim == 2:
        return x @ matrix.T
    return jnp.matvec(matrix, x)


def orthonormal_columns(matrix: Array) -> Array:
    """Orthonormalise the columns of ``batch_shape + (D, M)``, ``M <= D``, from left to right.

    Gram-Schmidt with each projection taken twice, which is as accurate as Householder's reflections
    (Giraud, Langou & Rozloznik 2005). It needs products of matrices alone: XLA's own factorisation
    of batches was seen to wait for ever inside compiled loops on a CPU.
    """

    columns = jnp.moveaxis(matrix, -1, 0)

    def visit(frame, step):
        index, v = step
        for _ in range(2):
            shares = (frame * v).sum(-1, keepdims=True)
            v = v - (frame * shares).sum(0)
        v = v / jnp.linalg.vector_norm(v, axis=-1, keepdims=True)
        return lax.dynamic_update_index_in_dim(frame, v, index, 0), None

    steps = jnp.arange(len(columns)), columns
    return jnp.moveaxis(lax.scan(visit, jnp.zeros_like(columns), steps)[0], 0, -1)


def reflect(x: Array, vectors: Sequence[Array]) -> Array:
    r"""Apply the reflections :math:`x \mapsto x - 2 v (v^T x) / |v|^2` one after the other.

    Args:
        x: shape ``batch_shape + (D,)``.
        vectors: the normals ``v``, each of a shape broadcastable to ``batch_shape + (D,)``; one of
            length zero changes nothing.
    """
    smallest = float(jnp.finfo(x.dtype).tiny) ** 0.5
    for v in vectors:
        norm = clamp(jnp.square(v).sum(-1, keepdims=True), smallest)
        x = x - v * (2.0 * (x * v).sum(-1, keepdims=True) / norm)
    return x


def strict_lower(entries: Array, dim: int) -> Array:
    """Fill strictly lower triangular matrices, row by row.

    Args:
        entries: shape ``batch_shape + (dim * (dim - 1) / 2,)``.
        dim: number of rows.

    Returns:
        Matrices of shape ``batch_shape + (dim, dim)``.
    """
    rows, columns = np.tril_indices(dim, -1)
    matrix = jnp.zeros(entries.shape[:-1] + (dim, dim), entries.dtype)
    return matrix.at[..., rows, columns].set(entries)


def unit_lower_solve(lower: Array, y: Array) -> Array:
    """Solve ``(I + lower) x = y`` for strictly lower triangular ``lower`` (broadcasting).

    Args:
        lower: shape ``batch_shape + (D, D)``.
        y: shape broadcastable to ``batch_shape + (D,)``.
    """
    if lower.ndim == 2:
        columns = y.reshape(-1, y.shape[-1]).T
        return triangular_solve(lower, columns, unit_diagonal=True).T.reshape(y.shape)
    shape = jnp.broadcast_shapes(lower.shape[:-2], y.shape[:-1])
    lower = jnp.broadcast_to(lower, shape + lower.shape[-2:])
    y = jnp.broadcast_to(y, shape + y.shape[-1:])
    return triangular_solve(lower, y[..., None], unit_diagonal=True)[..., 0]


def triangular_solve(
    matrix: Array, columns: Array, unit_diagonal: bool = False, lower: bool = True
) -> Array:
    """Solve ``matrix x = columns`` for triangular matrices of equal batch shape."""
    return lax.linalg.triangular_solve(
        matrix, columns, left_side=True, lower=lower, unit_diagonal=unit_diagonal
    )
