r"""Implicit derivatives of the inverse of a triangular map."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["triangular_inverse"]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def triangular_inverse(
    solve: Callable, image: Callable, transform, y: Array, context: Array | None = None
) -> tuple[Array, Array]:
    r"""Invert a map whose Jacobian is triangular in some order of its inputs.

    With the Jacobian :math:`J = \partial f / \partial x` at the solution, tangents of ``y`` and of
    :math:`(c, w)` become :math:`J^{-1} (dy - \partial f / \partial (c, w) \, d(c, w))`. Nothing of
    the solver is kept; derivatives are of any order.

    Args:
        solve: function that maps ``(transform, y, context)`` to ``x`` and the elementwise
            log-derivatives of the inverse.
        image: function that maps ``(transform, x, context)`` to ``y`` and the elementwise
            log-derivatives.
        transform: a pytree that holds the parameters of the map.
        y: shape ``batch_shape + (D,)``.
        context: shape broadcastable to ``batch_shape + (context_dim,)``, or None.

    Returns:
        ``x`` and the log-determinant of the inverse.
    """
    x, log_det = solve(transform, y, context)
    return x, log_det.sum(-1)


@triangular_inverse.defjvp
def _triangular_inverse_jvp(solve, image, primals, tangents):
    transform, y, context = primals
    d_transform, d_y, d_context = tangents
    x, log_det = triangular_inverse(solve, image, transform, y, context)
    (_, terms), (drift, _) = jax.jvp(
        lambda t, c: image(t, x, c), (transform, context), (d_transform, d_context)
    )
    _, jacobian = jax.linearize(lambda x: image(transform, x, context)[0], x)
    d_x = _solve_triangular(jacobian, jnp.broadcast_to(d_y, x.shape) - drift, jnp.exp(terms))
    _, d_log_det = jax.jvp(
        lambda t, x, c: -image(t, x, c)[1].sum(-1),
        (transform, x, context),
        (d_transform, d_x, d_context),
    )
    return (x, log_det), (d_x, d_log_det)


def _solve_triangular(jacobian: Callable[[Array], Array], b: Array, diagonal: Array) -> Array:
    r"""Solve :math:`J v = b` for triangular ``J`` with a known diagonal, by fixed-point steps.

    The iteration :math:`v \leftarrow v + (b - J v) / \mathrm{diag}(J)` is exact after ``D`` steps
    (its error is multiplied by a nilpotent matrix) and stops as soon as it no longer moves. The
    transposed system, of reverse derivatives, has the same diagonal.
    """
    tolerance = 8.0 * jnp.finfo(b.dtype).eps
    diagonal = lax.stop_gradient(diagonal)

    def solve(matvec, b):
        def unfinished(state):
            step, done, _ = state
            return (step < b.shape[-1] - 1) & ~done

        def advance(state):
            step, _, v = state
            change = (b - matvec(v)) / diagonal
            v = v + change
            return step + 1, jnp.all(jnp.abs(change) <= tolerance * (1.0 + jnp.abs(v))), v

        start = (jnp.zeros((), jnp.int32), jnp.zeros((), bool), b / diagonal)
        return lax.while_loop(unfinished, advance, start)[2]

    return lax.custom_linear_solve(jacobian, b, solve, transpose_solve=solve)
