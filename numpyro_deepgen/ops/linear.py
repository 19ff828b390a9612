"""Triangular matrices from unconstrained entries."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

__all__ = ["bounded_exp", "strict_lower", "unit_lower_solve"]

MAX_LOG_SCALE = 30.0


def bounded_exp(raw: Array) -> tuple[Array, Array]:
    r"""Return :math:`e^{s}` and :math:`s = 30 \tanh(a / 30)` of unconstrained ``a``, any shape."""
    log_scale = MAX_LOG_SCALE * jnp.tanh(raw / MAX_LOG_SCALE)
    return jnp.exp(log_scale), log_scale


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


def triangular_solve(lower: Array, columns: Array, unit_diagonal: bool = False) -> Array:
    """Solve ``lower x = columns`` for lower triangular matrices of equal batch shape."""
    return lax.linalg.triangular_solve(
        lower, columns, left_side=True, lower=True, unit_diagonal=unit_diagonal
    )
