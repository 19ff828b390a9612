r"""Gaussians by a factor of their covariance: diagonal, dense, or low rank plus diagonal."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ...distributions.transforms import FixedAffine, Transform
from .fixed_low_rank import FixedLowRank

__all__ = ["Gaussian"]


class Gaussian(NamedTuple):
    r"""The distribution :math:`N(m, L L^T)`.

    Args:
        loc: shape ``(D,)``.
        scale: ``L`` as its diagonal ``(D,)`` or as a lower triangle ``(D, D)``.
        frame: orthonormal columns ``Q``, shape ``(D, R)``, or None. With it
            :math:`L = \mathrm{diag}(s) (I + Q (T - I) Q^T)`, ``s`` being ``scale``.
        core: the lower triangle ``T``, shape ``(R, R)``.
    """

    loc: Array
    scale: Array
    frame: Array | None = None
    core: Array | None = None

    def draw(self, noise: Array) -> Array:
        """Return the image of standard normal noise of shape ``(N, D)``."""
        if self.scale.ndim == 2:
            return self.loc + noise @ self.scale.mT
        if self.frame is not None:
            inner = noise @ self.frame
            noise = noise + (inner @ self.core.mT - inner) @ self.frame.mT
        return self.loc + noise * self.scale

    def entropy(self, noise: Array) -> Array:
        """Return the mean of minus the log density at the images of noise."""
        diagonals = [self.scale if self.scale.ndim == 1 else self.scale.diagonal()]
        if self.core is not None:
            diagonals.append(self.core.diagonal())
        log_scale = sum(jnp.log(diagonal).sum() for diagonal in diagonals)
        return log_scale - jax.scipy.stats.norm.logpdf(noise).sum(-1).mean()

    def dense(self) -> "Gaussian":
        """Return the same distribution with a lower triangle ``(D, D)``."""
        if self.scale.ndim == 2:
            return self
        if self.frame is None:
            return Gaussian(self.loc, jnp.diag(self.scale))
        identity = jnp.eye(self.loc.size, dtype=self.loc.dtype)
        root = self._replace(loc=jnp.zeros_like(self.loc))
        # the rows are L^T = Q R, hence L L^T = R^T R
        upper = jnp.linalg.qr(root.draw(identity), mode="r")
        return Gaussian(self.loc, upper.mT * jnp.sign(upper.diagonal()))

    def low_rank(self, rank: int) -> "Gaussian":
        """Return the same distribution with a frame, of zeros for a diagonal."""
        if self.frame is not None:
            return self
        frame = jnp.zeros((self.loc.size, rank), self.loc.dtype)
        return self._replace(frame=frame, core=jnp.eye(rank, dtype=self.loc.dtype))

    def layer(self) -> Transform:
        """Return the fixed affine transform from the standard normal distribution."""
        if self.frame is None:
            return FixedAffine(self.loc, self.scale)
        return FixedLowRank(self.loc, self.scale, self.frame, self.core)
