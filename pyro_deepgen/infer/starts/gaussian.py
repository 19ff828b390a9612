r"""Gaussians by a factor of their covariance: diagonal, dense, or low rank plus diagonal."""

import torch
from torch import Tensor
from torch.distributions import Normal

from ...distributions.transforms import FixedAffine, Transform
from .fixed_low_rank import FixedLowRank

__all__ = ["Gaussian"]


class Gaussian:
    r"""The distribution :math:`N(m, L L^T)`.

    Args:
        loc: shape ``(D,)``.
        scale: ``L`` as its diagonal ``(D,)`` or as a lower triangle ``(D, D)``.
        frame: orthonormal columns ``Q``, shape ``(D, R)``, or None. With it
            :math:`L = \mathrm{diag}(s) (I + Q (T - I) Q^T)`, ``s`` being ``scale``.
        core: the lower triangle ``T``, shape ``(R, R)``.
    """

    def __init__(
        self, loc: Tensor, scale: Tensor, frame: Tensor | None = None, core: Tensor | None = None
    ):
        self.loc, self.scale, self.frame, self.core = loc, scale, frame, core

    def draw(self, noise: Tensor) -> Tensor:
        """Return the image of standard normal noise of shape ``(N, D)``."""
        if self.scale.ndim == 2:
            return self.loc + noise @ self.scale.mT
        if self.frame is not None:
            inner = noise @ self.frame
            noise = noise + (inner @ self.core.mT - inner) @ self.frame.mT
        return self.loc + noise * self.scale

    def entropy(self, noise: Tensor) -> Tensor:
        """Return the mean of minus the log density at the images of noise."""
        diagonals = [self.scale if self.scale.ndim == 1 else self.scale.diagonal()]
        if self.core is not None:
            diagonals.append(self.core.diagonal())
        log_scale = sum(diagonal.log().sum() for diagonal in diagonals)
        return log_scale - Normal(0.0, 1.0).log_prob(noise).sum(-1).mean()

    def dense(self) -> "Gaussian":
        """Return the same distribution with a lower triangle ``(D, D)``."""
        if self.scale.ndim == 2:
            return self
        if self.frame is None:
            return Gaussian(self.loc, self.scale.diag())
        identity = torch.eye(len(self.loc)).to(self.loc)
        root = Gaussian(torch.zeros_like(self.loc), self.scale, self.frame, self.core)
        # the rows are L^T = Q R, hence L L^T = R^T R
        upper = torch.linalg.qr(root.draw(identity))[1]
        return Gaussian(self.loc, upper.mT * upper.diagonal().sign())

    def layer(self) -> Transform:
        """Return the fixed affine transform from the standard normal distribution."""
        if self.frame is None:
            return FixedAffine(self.loc, self.scale)
        return FixedLowRank(self.loc, self.scale, self.frame, self.core)
