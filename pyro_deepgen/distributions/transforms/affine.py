"""Dense, low-rank and fixed affine transforms."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ...nn import ConditionalParameters
from ...ops.linear import bounded_exp, orthonormal_columns, strict_lower, unit_lower_solve
from .base import Transform

__all__ = ["DenseAffine", "FixedAffine", "LowRankAffine"]


class DenseAffine(Transform):
    r"""The transform :math:`y = t + e^{s} \odot (x + N x)`, ``N`` strictly lower triangular.

    Both directions cost ``D^2`` operations a point; the log-determinant is :math:`\sum_i s_i`,
    :math:`|s_i| < 30`. Starts as the identity.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> DenseAffine(2)(torch.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.sizes = [self.input_dim, self.input_dim, self.input_dim * (self.input_dim - 1) // 2]
        self.parameter_net = ConditionalParameters(
            sum(self.sizes), context_dim, hidden_dims, activation
        )

    def _params(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        loc, log_scale, entries = self.parameter_net(context).split(self.sizes, -1)
        return loc, *bounded_exp(log_scale), strict_lower(entries, self.input_dim)

    def forward_and_log_det(self, x, context=None):
        loc, scale, log_scale, lower = self._params(context)
        mixed = x + (lower @ x.unsqueeze(-1)).squeeze(-1)
        y = loc + scale * mixed
        return y, log_scale.sum(-1).expand(y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        loc, _, log_scale, lower = self._params(context)
        x = unit_lower_solve(lower, (y - loc) * (-log_scale).exp())
        return x, -log_scale.sum(-1).expand(x.shape[:-1])


class LowRankAffine(Transform):
    r"""The transform :math:`y = t + e^{s} \odot (x + Q (T - I) Q^T x)`, always invertible.

    ``Q`` has ``rank`` orthonormal columns and ``T`` is lower triangular with a positive diagonal,
    so both directions cost ``D * rank`` operations a point and the log-determinant is
    :math:`\sum_i s_i + \sum_j \log T_{jj}`. Starts as the identity.

    Args:
        input_dim: number ``D`` of inputs.
        rank: number of columns of ``Q``, 1 to ``D``.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Raises:
        ValueError: if ``rank`` exceeds ``input_dim``.

    Example:
        >>> import torch
        >>> LowRankAffine(5, rank=2)(torch.ones(5)).shape
        torch.Size([5])
    """

    def __init__(
        self,
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
        self.sizes = [dim, dim, self.rank, self.rank * (self.rank - 1) // 2, dim * self.rank]
        init = torch.zeros(sum(self.sizes))
        init[-dim * self.rank :] = torch.randn(dim * self.rank)
        self.parameter_net = ConditionalParameters(
            init.numel(), context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Tensor | None):
        loc, log_scale, log_diag, entries, frame = self.parameter_net(context).split(self.sizes, -1)
        frame = orthonormal_columns(frame.unflatten(-1, (self.input_dim, self.rank)))
        log_scale, log_diag = bounded_exp(log_scale)[1], bounded_exp(log_diag)[1]
        return loc, log_scale, frame, log_diag, strict_lower(entries, self.rank)

    def forward_and_log_det(self, x, context=None):
        loc, log_scale, frame, log_diag, lower = self._params(context)
        inner = (frame.mT @ x.unsqueeze(-1)).squeeze(-1)
        # T = diag (I + lower)
        image = log_diag.exp() * (inner + (lower @ inner.unsqueeze(-1)).squeeze(-1))
        y = loc + log_scale.exp() * (x + (frame @ (image - inner).unsqueeze(-1)).squeeze(-1))
        return y, (log_scale.sum(-1) + log_diag.sum(-1)).expand(y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        loc, log_scale, frame, log_diag, lower = self._params(context)
        z = (y - loc) * (-log_scale).exp()
        image = (frame.mT @ z.unsqueeze(-1)).squeeze(-1)
        inner = unit_lower_solve(lower, image * (-log_diag).exp())
        x = z + (frame @ (inner - image).unsqueeze(-1)).squeeze(-1)
        return x, -(log_scale.sum(-1) + log_diag.sum(-1)).expand(x.shape[:-1])


class FixedAffine(Transform):
    r"""An affine transform :math:`y = t + L x` that is not trained: a scaling, a whitening.

    ``loc`` and ``scale`` are saved and moved with the module, but are no parameters.

    Args:
        loc: shape ``(D,)``.
        scale: shape ``(D,)``, positive, or ``(D, D)``, lower triangular with positive diagonal.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite or the diagonal not positive.

    Example:
        >>> import torch
        >>> FixedAffine(torch.zeros(2), torch.tensor([1.0, 3.0]))(torch.ones(2)).tolist()
        [1.0, 3.0]
    """

    def __init__(self, loc: Tensor, scale: Tensor):
        super().__init__(loc.shape[-1] if loc.ndim == 1 else 0)
        if scale.shape not in (loc.shape, loc.shape * 2):
            raise ValueError(
                f"scale must have shape {tuple(loc.shape)} or {tuple(loc.shape * 2)}, got "
                f"{tuple(scale.shape)}; pass standard deviations or a lower Cholesky factor."
            )
        diagonal = scale if scale.ndim == 1 else scale.diagonal()
        if not (loc.isfinite().all() and scale.isfinite().all() and (diagonal > 0).all()):
            raise ValueError(
                "loc and scale must be finite with a positive diagonal, got entries that are not; "
                "check what they were computed from."
            )
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("scale", (scale if scale.ndim == 1 else scale.tril()).detach().clone())

    def _log_det(self, point: Tensor) -> Tensor:
        diagonal = self.scale if self.scale.ndim == 1 else self.scale.diagonal()
        return diagonal.log().sum().expand(point.shape[:-1])

    def forward_and_log_det(self, x, context=None):
        y = self.loc + (self.scale * x if self.scale.ndim == 1 else x @ self.scale.mT)
        return y, self._log_det(x)

    def inverse_and_log_det(self, y, context=None):
        if self.scale.ndim == 1:
            return (y - self.loc) / self.scale, -self._log_det(y)
        centred = (y - self.loc).unsqueeze(-1)
        x = torch.linalg.solve_triangular(self.scale, centred, upper=False).squeeze(-1)
        return x, -self._log_det(y)
