"""A fixed affine transform of low rank plus diagonal."""

import torch
from torch import Tensor

from ...distributions.transforms import Transform

__all__ = ["FixedLowRank"]


class FixedLowRank(Transform):
    r"""The transform :math:`y = t + s \odot (x + Q (T - I) Q^T x)`, not trained.

    Both directions cost ``D * R`` operations a point; the log-determinant is
    :math:`\sum_i \log s_i + \sum_j \log T_{jj}`. What it holds is saved and moved with the module,
    but has no gradient.

    Args:
        loc: shape ``(D,)``.
        scale: shape ``(D,)``, positive.
        frame: orthonormal columns ``Q``, shape ``(D, R)``.
        core: lower triangle ``T`` with positive diagonal, shape ``(R, R)``.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite or a diagonal not positive.

    Example:
        >>> import torch
        >>> frame, core = torch.eye(3)[:, :1], torch.tensor([[5.0]])
        >>> FixedLowRank(torch.zeros(3), torch.ones(3), frame, core)(torch.ones(3)).tolist()
        [5.0, 1.0, 1.0]
    """

    def __init__(self, loc: Tensor, scale: Tensor, frame: Tensor, core: Tensor):
        dim, rank = frame.shape
        super().__init__(dim)
        shapes = tuple(tuple(array.shape) for array in (loc, scale, core))
        if shapes != ((dim,), (dim,), (rank, rank)):
            raise ValueError(
                f"loc, scale and core must have shapes {(dim,)}, {(dim,)} and {(rank, rank)} for a "
                f"frame of shape {(dim, rank)}, got {shapes}; pass arrays that fit."
            )
        finite = all(array.isfinite().all() for array in (loc, scale, frame, core))
        if not (finite and (scale > 0).all() and (core.diagonal() > 0).all()):
            raise ValueError(
                "scale and core must be finite with a positive diagonal, got entries that are not; "
                "check what they were computed from."
            )
        for name, array in (("loc", loc), ("scale", scale), ("frame", frame), ("core", core)):
            self.register_buffer(name, array.detach().clone())

    def _log_det(self, point: Tensor) -> Tensor:
        total = self.scale.log().sum() + self.core.diagonal().log().sum()
        return total.expand(point.shape[:-1])

    def forward_and_log_det(self, x, context=None):
        inner = x @ self.frame
        x = x + (inner @ self.core.mT - inner) @ self.frame.mT
        return self.loc + self.scale * x, self._log_det(x)

    def inverse_and_log_det(self, y, context=None):
        z = (y - self.loc) / self.scale
        image = z @ self.frame
        inner = torch.linalg.solve_triangular(self.core, image.unsqueeze(-1), upper=False)
        return z + (inner.squeeze(-1) - image) @ self.frame.mT, -self._log_det(y)
