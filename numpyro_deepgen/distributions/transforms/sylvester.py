"""Sylvester transforms, with a true inverse."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ..._numerics.checks import check_choice, check_positive_int
from ...nn import ConditionalParameters
from ...ops._random import check_rng_key
from ...ops.constraining import above_minus_one
from ...ops.linear import matvec, orthonormal_columns, reflect, strict_lower, triangular_solve
from ...ops.root_finding import tanh_root
from .base import Transform

__all__ = ["Sylvester"]

MAX_LOG_SCALE = 7.0


class Sylvester(Transform):
    r"""The transform :math:`y = x + Q R \tanh(\tilde R Q^T x + b)`, invertible for all parameters.

    ``Q`` has ``rank`` orthonormal columns, ``R`` and :math:`\tilde R` are upper triangular with
    :math:`r_{ii} \tilde r_{ii} = p_i > -1`, made as in :class:`Planar`, and :math:`\tilde r_{ii}`
    positive. The inverse solves a triangular system for :math:`z = Q^T x` from the last coordinate
    up, one increasing scalar equation each, with implicit gradients. Starts as the identity.

    Args:
        rng_key: random key of ``Q`` and of the network of the context.
        input_dim: number ``D`` of inputs.
        rank: number of columns of ``Q``, 1 to ``D``; default ``D``.
        kind: how ``Q`` is made: ``'orthogonal'`` (a learned matrix with its columns
            orthonormalised), ``'householder'`` (a product of learned reflections) or
            ``'triangular'`` (the first coordinates, nothing learned).
        context_dim: size of the context, 0 for none; all parameters may depend on it.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        num_reflections: for ``'householder'``: number of reflections.
        reverse: for ``'triangular'``: whether ``Q`` takes the coordinates from the last one down.

    Raises:
        ValueError: if ``rank`` exceeds ``input_dim`` or ``kind`` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> Sylvester(jax.random.key(0), 3, kind="householder")(jnp.ones((4, 3))).shape
        (4, 3)

    References:
        van den Berg et al. 2018, Sylvester Normalizing Flows for Variational Inference, equations
        9-11 and section 3.
    """

    fast = "forward"

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        rank: int | None = None,
        kind: str = "orthogonal",
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        num_reflections: int = 8,
        reverse: bool = False,
    ):
        super().__init__(input_dim, context_dim)
        self.rank = self.input_dim if rank is None else check_positive_int("rank", rank)
        if self.rank > self.input_dim:
            raise ValueError(
                f"rank must be at most input_dim={input_dim}, got {rank}; use a smaller one."
            )
        self.kind = check_choice("kind", kind, ("orthogonal", "householder", "triangular"))
        self.num_reflections = check_positive_int("num_reflections", num_reflections)
        self.reverse = bool(reverse)
        half = self.rank * (self.rank - 1) // 2
        columns = {"orthogonal": self.rank, "householder": self.num_reflections, "triangular": 0}
        self.sizes = (*[self.rank] * 3, half, half, columns[kind] * self.input_dim)
        frame_key, network_key = jax.random.split(check_rng_key(rng_key))
        frame = jax.random.normal(frame_key, self.sizes[-1:])
        init = jnp.concatenate([jnp.zeros(sum(self.sizes[:-1])), frame])
        self.parameter_net = ConditionalParameters(
            network_key, init.size, context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Array | None):
        """Return ``Q``, ``R``, its partner ``S``, ``b`` and the products ``p`` of the diagonals."""
        ends = np.cumsum(self.sizes)[:-1]
        raw, log_scale, bias, *entries, frame = jnp.split(self.parameter_net(context), ends, -1)
        product = above_minus_one(raw)
        scale = jnp.exp(MAX_LOG_SCALE * jnp.tanh(log_scale / MAX_LOG_SCALE))
        outer, inner = (strict_lower(e, self.rank).mT for e in entries)
        outer = outer + _diagonal_matrix(product / scale)
        inner = inner + _diagonal_matrix(scale)
        return self._frame(frame), outer, inner, bias, product

    def _frame(self, entries: Array) -> Array:
        """Return ``Q``, shape ``batch_shape + (D, rank)``."""
        leading = entries.shape[:-1]
        if self.kind == "orthogonal":
            return orthonormal_columns(entries.reshape(leading + (self.input_dim, self.rank)))
        rows = jnp.eye(self.input_dim, dtype=entries.dtype)
        if self.kind == "triangular":
            return (jnp.flip(rows, -1) if self.reverse else rows)[:, : self.rank]
        normals = entries.reshape(leading + (self.num_reflections, 1, self.input_dim))
        normals = [normals[..., k, :, :] for k in range(self.num_reflections)]
        return reflect(rows[: self.rank], normals).mT

    def forward_and_log_det(self, x, context=None):
        frame, outer, inner, bias, product = self._params(context)
        tanh = jnp.tanh(matvec(inner, matvec(frame.mT, x)) + bias)
        # equation 9
        y = x + matvec(frame, matvec(outer, tanh))
        return y, _log_det(tanh, product)

    def inverse_and_log_det(self, y, context=None):
        frame, outer, inner, bias, product = self._params(context)
        z = _solve(outer, inner, bias, product, matvec(frame.mT, y))
        tanh = jnp.tanh(matvec(inner, z) + bias)
        return y - matvec(frame, matvec(outer, tanh)), -_log_det(tanh, product)


def _log_det(tanh: Array, product: Array) -> Array:
    # equation 11 with a triangular matrix: the product of 1 + p_i (1 - tanh^2)
    return jnp.log1p(product * (1.0 - jnp.square(tanh))).sum(-1)


def _diagonal_matrix(diagonal: Array) -> Array:
    return diagonal[..., None] * jnp.eye(diagonal.shape[-1], dtype=diagonal.dtype)


@jax.custom_jvp
def _solve(outer: Array, inner: Array, bias: Array, product: Array, target: Array) -> Array:
    r"""Solve :math:`z + R \tanh(\tilde R z + b) = w`, with implicit derivatives of any order."""
    return _substitute(outer, inner, bias, product, target)


@_solve.defjvp
def _solve_jvp(primals, tangents):
    outer, inner, bias, product, target = primals
    d_outer, d_inner, d_bias, _, d_target = tangents
    z = _solve(*primals)
    tanh = jnp.tanh(matvec(inner, z) + bias)
    scaled = outer * (1.0 - jnp.square(tanh))[..., None, :]
    drift = matvec(d_outer, tanh) + jnp.matvec(scaled, matvec(d_inner, z) + d_bias)
    jacobian = jnp.eye(z.shape[-1], dtype=z.dtype) + scaled @ inner
    columns = jnp.broadcast_to(d_target - drift, z.shape)[..., None]
    return z, triangular_solve(jacobian, columns, lower=False)[..., 0]


def _substitute(outer, inner, bias, product, target) -> Array:
    """Solve the triangular system from the last coordinate up."""
    shape = jnp.broadcast_shapes(target.shape, bias.shape)
    rank = shape[-1]

    def visit(state, step):
        z, tanh = state
        index, outer_row, inner_row, bias, product, target = step
        scale = inner_row[..., index]
        offset = bias + (inner_row * z).sum(-1)
        remainder = target - (outer_row * tanh).sum(-1)
        s = tanh_root(product, scale * remainder + offset)
        z = z.at[..., index].set((s - offset) / scale)
        return (z, tanh.at[..., index].set(jnp.tanh(s))), None

    vectors = (jnp.broadcast_to(a, shape) for a in (bias, product, target))
    steps = (
        jnp.arange(rank),
        *(jnp.moveaxis(a, -2, 0) for a in (outer, inner)),
        *(jnp.moveaxis(a, -1, 0) for a in vectors),
    )
    zeros = jnp.zeros(shape, target.dtype)
    return lax.scan(visit, (zeros, zeros), steps, reverse=True)[0][0]
