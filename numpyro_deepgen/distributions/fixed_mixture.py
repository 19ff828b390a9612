"""A mixture of normals that is not trained, as the base of a flow with several modes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpyro import distributions as dist
from numpyro.distributions import Distribution

__all__ = ["FixedMixture"]


class FixedMixture(eqx.Module):
    r"""A module whose call gives a mixture of ``K`` normals that is not trained.

    .. math::
        p(x) = \sum_k \pi_k N(x; m_k, L_k L_k^T)

    The arrays are saved and moved with the module, but their derivatives are zero. A draw is then
    a function of noise alone, so that the transforms above it are trained by the pathwise
    gradient: the flow begins, and stays, with a share of its mass at every mode.

    Args:
        weights: shape ``(K,)``, positive; only their ratios matter.
        loc: shape ``(K, D)``.
        scale_tril: lower triangles ``L`` with positive diagonals, shape ``(K, D, D)``.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite, or a weight or diagonal entry
            is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> loc = jnp.array([[-4.0, 0.0], [4.0, 0.0]])
        >>> FixedMixture(jnp.ones(2), loc, jnp.tile(jnp.eye(2), (2, 1, 1)))().event_shape
        (2,)
    """

    logits: Array
    loc: Array
    scale_tril: Array
    input_dim: int = eqx.field(static=True)

    def __init__(self, weights: Array, loc: Array, scale_tril: Array):
        weights, loc, scale_tril = map(jnp.asarray, (weights, loc, scale_tril))
        count, dim = loc.shape if loc.ndim == 2 else (0, 0)
        if weights.shape != (count,) or scale_tril.shape != (count, dim, dim) or not count:
            raise ValueError(
                f"weights, loc and scale_tril must have shapes (K,), (K, D) and (K, D, D), got "
                f"{weights.shape}, {loc.shape} and {scale_tril.shape}; pass arrays that fit."
            )
        arrays = (weights, loc, scale_tril)
        traced = any(isinstance(array, jax.core.Tracer) for array in arrays)
        if not traced and not _is_usable(*(np.asarray(array) for array in arrays)):
            raise ValueError(
                "weights and scale_tril must be finite, with positive weights and diagonals, got "
                "entries that are not; check what they were computed from."
            )
        self.input_dim = dim
        self.logits = jnp.log(weights) - jnp.log(weights.sum())
        self.loc, self.scale_tril = loc, jnp.tril(scale_tril)

    def __call__(self, context: Array | None = None) -> Distribution:
        logits, loc, scale_tril = lax.stop_gradient((self.logits, self.loc, self.scale_tril))
        components = dist.MultivariateNormal(loc, scale_tril=scale_tril)
        return _ReparameterizedMixture(dist.Categorical(logits=logits), components)


class _ReparameterizedMixture(dist.MixtureSameFamily):
    """A mixture without parameters: its draws are functions of noise alone."""

    has_rsample = True


def _is_usable(weights: np.ndarray, loc: np.ndarray, scale_tril: np.ndarray) -> bool:
    finite = all(np.isfinite(array).all() for array in (weights, loc, scale_tril))
    diagonals = np.diagonal(scale_tril, axis1=-2, axis2=-1)
    return bool(finite and (weights > 0).all() and (diagonals > 0).all())
