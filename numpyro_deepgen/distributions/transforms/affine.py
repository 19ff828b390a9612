"""Dense, low-rank and fixed affine transforms."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ..._numerics.checks import check_positive_int
from ...nn import ConditionalParameters
from ...ops._random import check_rng_key
from ...ops.linear import (
    bounded_exp,
    orthonormal_columns,
    strict_lower,
    triangular_solve,
    unit_lower_solve,
)
from .base import Transform

__all__ = ["DenseAffine", "FixedAffine", "LowRankAffine"]


class DenseAffine(Transform):
    r"""The transform :math:`y = t + e^{s} \odot (x + N x)`, ``N`` strictly lower triangular.

    Both directions cost ``D^2`` operations a point; the log-determinant is :math:`\sum_i s_i`,
    :math:`|s_i| < 30`. Starts as the identity.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> DenseAffine(jax.random.key(0), 2)(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.sizes = (self.input_dim, self.input_dim, self.input_dim * (self.input_dim - 1) // 2)
        self.parameter_net = ConditionalParameters(
            rng_key, sum(self.sizes), context_dim, hidden_dims, activation
        )

    def _params(self, context: Array | None) -> tuple[Array, Array, Array, Array]:
        params = self.parameter_net(context)
        loc, log_scale, entries = jnp.split(params, np.cumsum(self.sizes)[:-1], -1)
        return loc, *bounded_exp(log_scale), strict_lower(entries, self.input_dim)

    def forward_and_log_det(self, x, context=None):
        loc, scale, log_scale, lower = self._params(context)
        y = loc + scale * (x + jnp.matvec(lower, x))
        return y, jnp.broadcast_to(log_scale.sum(-1), y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        loc, _, log_scale, lower = self._params(context)
        x = unit_lower_solve(lower, (y - loc) * jnp.exp(-log_scale))
        return x, jnp.broadcast_to(-log_scale.sum(-1), x.shape[:-1])


class LowRankAffine(Transform):
    r"""The transform :math:`y = t + e^{s} \odot (x + Q (T - I) Q^T x)`, always invertible.

    ``Q`` has ``rank`` orthonormal columns and ``T`` is lower triangular with a positive diagonal,
    so both directions cost ``D * rank`` operations a point and the log-determinant is
    :math:`\sum_i s_i + \sum_j \log T_{jj}`. Starts as the identity.

    Args:
        rng_key: random key of ``Q`` and of the network of the context.
        input_dim: number ``D`` of inputs.
        rank: number of columns of ``Q``, 1 to ``D``.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Raises:
        ValueError: if ``rank`` exceeds ``input_dim``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> LowRankAffine(jax.random.key(0), 5, rank=2)(jnp.ones(5)).shape
        (5,)
    """

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        rank: int = 1,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.rank = check_positive_int("rank", rank)
        if self.rank > self.input_dim:
            raise ValueError(
                f"rank must be at most input_dim={input_dim}, got {rank}; use DenseAffine instead."
            )
        dim = self.input_dim
        self.sizes = (dim, dim, self.rank, self.rank * (self.rank - 1) // 2, dim * self.rank)
        frame_key, network_key = jax.random.split(check_rng_key(rng_key))
        frame = jax.random.normal(frame_key, (self.sizes[-1],))
        init = jnp.concatenate([jnp.zeros(sum(self.sizes[:-1])), frame])
        self.parameter_net = ConditionalParameters(
            network_key, init.size, context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Array | None):
        params = self.parameter_net(context)
        pieces = jnp.split(params, np.cumsum(self.sizes)[:-1], -1)
        loc, log_scale, log_diag, entries, frame = pieces
        frame = frame.reshape(frame.shape[:-1] + (self.input_dim, self.rank))
        log_scale, log_diag = bounded_exp(log_scale)[1], bounded_exp(log_diag)[1]
        lower = strict_lower(entries, self.rank)
        return loc, log_scale, orthonormal_columns(frame), log_diag, lower

    def forward_and_log_det(self, x, context=None):
        loc, log_scale, frame, log_diag, lower = self._params(context)
        inner = jnp.vecmat(x, frame)
        # T = diag (I + lower)
        image = jnp.exp(log_diag) * (inner + jnp.matvec(lower, inner))
        y = loc + jnp.exp(log_scale) * (x + jnp.matvec(frame, image - inner))
        return y, jnp.broadcast_to(log_scale.sum(-1) + log_diag.sum(-1), y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        loc, log_scale, frame, log_diag, lower = self._params(context)
        z = (y - loc) * jnp.exp(-log_scale)
        image = jnp.vecmat(z, frame)
        inner = unit_lower_solve(lower, image * jnp.exp(-log_diag))
        x = z + jnp.matvec(frame, inner - image)
        return x, jnp.broadcast_to(-log_scale.sum(-1) - log_diag.sum(-1), x.shape[:-1])


class FixedAffine(Transform):
    r"""An affine transform :math:`y = t + L x` that is not trained: a scaling, a whitening.

    ``loc`` and ``scale`` are saved and moved with the module, but their derivatives are zero.

    Args:
        loc: shape ``(D,)``.
        scale: shape ``(D,)``, positive, or ``(D, D)``, lower triangular with positive diagonal.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite or the diagonal not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> FixedAffine(jnp.zeros(2), jnp.array([1.0, 3.0]))(jnp.ones(2)).tolist()
        [1.0, 3.0]
    """

    def __init__(self, loc: Array, scale: Array):
        loc, scale = jnp.asarray(loc), jnp.asarray(scale)
        super().__init__(loc.shape[-1] if loc.ndim == 1 else 0)
        if scale.shape not in (loc.shape, loc.shape * 2):
            raise ValueError(
                f"scale must have shape {tuple(loc.shape)} or {tuple(loc.shape * 2)}, got "
                f"{tuple(scale.shape)}; pass standard deviations or a lower Cholesky factor."
            )
        traced = isinstance(loc, jax.core.Tracer) or isinstance(scale, jax.core.Tracer)
        if not traced and not _is_usable(np.asarray(loc), np.asarray(scale)):
            raise ValueError(
                "loc and scale must be finite with a positive diagonal, got entries that are not; "
                "check what they were computed from."
            )
        self.loc = loc
        self.scale = scale if scale.ndim == 1 else jnp.tril(scale)

    def _constants(self, point: Array) -> tuple[Array, Array, Array]:
        loc, scale = lax.stop_gradient((self.loc, self.scale))
        diagonal = scale if scale.ndim == 1 else jnp.diagonal(scale)
        return loc, scale, jnp.broadcast_to(jnp.log(diagonal).sum(), point.shape[:-1])

    def forward_and_log_det(self, x, context=None):
        loc, scale, log_det = self._constants(x)
        return loc + (scale * x if scale.ndim == 1 else jnp.matvec(scale, x)), log_det

    def inverse_and_log_det(self, y, context=None):
        loc, scale, log_det = self._constants(y)
        if scale.ndim == 1:
            return (y - loc) / scale, -log_det
        columns = (y - loc).reshape(-1, self.input_dim).T
        return triangular_solve(scale, columns).T.reshape(y.shape), -log_det


def _is_usable(loc: np.ndarray, scale: np.ndarray) -> bool:
    diagonal = scale if scale.ndim == 1 else np.diagonal(scale)
    return bool(np.isfinite(loc).all() and np.isfinite(scale).all() and (diagonal > 0).all())
