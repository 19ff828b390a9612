"""A fixed affine transform of low rank plus diagonal."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ...distributions.transforms import Transform
from ...ops.linear import triangular_solve

__all__ = ["FixedLowRank"]


class FixedLowRank(Transform):
    r"""The transform :math:`y = t + s \odot (x + Q (T - I) Q^T x)`, not trained.

    Both directions cost ``D * R`` operations a point; the log-determinant is
    :math:`\sum_i \log s_i + \sum_j \log T_{jj}`. What it holds is saved and moved with the module,
    but its derivatives are zero.

    Args:
        loc: shape ``(D,)``.
        scale: shape ``(D,)``, positive.
        frame: orthonormal columns ``Q``, shape ``(D, R)``.
        core: lower triangle ``T`` with positive diagonal, shape ``(R, R)``.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite or a diagonal not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> frame, core = jnp.eye(3)[:, :1], jnp.array([[5.0]])
        >>> FixedLowRank(jnp.zeros(3), jnp.ones(3), frame, core)(jnp.ones(3)).tolist()
        [5.0, 1.0, 1.0]
    """

    def __init__(self, loc: Array, scale: Array, frame: Array, core: Array):
        dim, rank = frame.shape
        super().__init__(dim)
        shapes = tuple(tuple(array.shape) for array in (loc, scale, core))
        if shapes != ((dim,), (dim,), (rank, rank)):
            raise ValueError(
                f"loc, scale and core must have shapes {(dim,)}, {(dim,)} and {(rank, rank)} for a "
                f"frame of shape {(dim, rank)}, got {shapes}; pass arrays that fit."
            )
        arrays = (loc, scale, frame, core)
        traced = any(isinstance(array, jax.core.Tracer) for array in arrays)
        if not traced and not _is_usable(*(np.asarray(array) for array in arrays)):
            raise ValueError(
                "scale and core must be finite with a positive diagonal, got entries that are not; "
                "check what they were computed from."
            )
        self.loc, self.scale, self.frame, self.core = arrays

    def _constants(self, point: Array) -> tuple[Array, ...]:
        loc, scale, frame, core = lax.stop_gradient((self.loc, self.scale, self.frame, self.core))
        total = jnp.log(scale).sum() + jnp.log(jnp.diagonal(core)).sum()
        return loc, scale, frame, core, jnp.broadcast_to(total, point.shape[:-1])

    def forward_and_log_det(self, x, context=None):
        loc, scale, frame, core, log_det = self._constants(x)
        inner = x @ frame
        return loc + scale * (x + (inner @ core.mT - inner) @ frame.mT), log_det

    def inverse_and_log_det(self, y, context=None):
        loc, scale, frame, core, log_det = self._constants(y)
        z = (y - loc) / scale
        image = z @ frame
        columns = image.reshape(-1, core.shape[-1]).T
        inner = triangular_solve(core, columns).T.reshape(image.shape)
        return z + (inner - image) @ frame.mT, -log_det


def _is_usable(loc: np.ndarray, scale: np.ndarray, frame: np.ndarray, core: np.ndarray) -> bool:
    finite = all(np.isfinite(array).all() for array in (loc, scale, frame, core))
    return bool(finite and (scale > 0).all() and (np.diagonal(core) > 0).all())
