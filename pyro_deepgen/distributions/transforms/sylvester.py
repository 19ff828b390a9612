"""Sylvester transforms, with a true inverse."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..._numerics.checks import check_choice, check_positive_int
from ...nn import ConditionalParameters
from ...ops.constraining import above_minus_one
from ...ops.linear import matvec, orthonormal_columns, reflect, strict_lower
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
        >>> import torch
        >>> Sylvester(3, kind="householder")(torch.ones(4, 3)).shape
        torch.Size([4, 3])

    References:
        van den Berg et al. 2018, Sylvester Normalizing Flows for Variational Inference, equations
        9-11 and section 3.
    """

    fast = "forward"

    def __init__(
        self,
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
        self.sizes = [*[self.rank] * 3, half, half, columns[kind] * self.input_dim]
        init = torch.zeros(sum(self.sizes))
        init[sum(self.sizes[:-1]) :] = torch.randn(self.sizes[-1])
        self.parameter_net = ConditionalParameters(
            init.numel(), context_dim, hidden_dims, activation, init
        )

    def _params(self, context: Tensor | None):
        """Return ``Q``, ``R``, its partner ``S``, ``b`` and the products ``p`` of the diagonals."""
        raw, log_scale, bias, *entries, frame = self.parameter_net(context).split(self.sizes, -1)
        product = above_minus_one(raw)
        scale = (MAX_LOG_SCALE * torch.tanh(log_scale / MAX_LOG_SCALE)).exp()
        outer, inner = (strict_lower(e, self.rank).mT for e in entries)
        outer = outer + torch.diag_embed(product / scale)
        inner = inner + torch.diag_embed(scale)
        return self._frame(frame), outer, inner, bias, product

    def _frame(self, entries: Tensor) -> Tensor:
        """Return ``Q``, shape ``batch_shape + (D, rank)``."""
        if self.kind == "orthogonal":
            return orthonormal_columns(entries.unflatten(-1, (self.input_dim, self.rank)))
        rows = torch.eye(self.input_dim, dtype=entries.dtype, device=entries.device)
        if self.kind == "triangular":
            return (rows.flip(-1) if self.reverse else rows)[:, : self.rank]
        normals = entries.unflatten(-1, (self.num_reflections, 1, self.input_dim)).unbind(-3)
        return reflect(rows[: self.rank], normals).mT

    def forward_and_log_det(self, x, context=None):
        frame, outer, inner, bias, product = self._params(context)
        tanh = torch.tanh(matvec(inner, matvec(frame.mT, x)) + bias)
        # equation 9
        y = x + matvec(frame, matvec(outer, tanh))
        return y, _log_det(tanh, product)

    def inverse_and_log_det(self, y, context=None):
        frame, outer, inner, bias, product = self._params(context)
        z = _solve(outer, inner, bias, product, matvec(frame.mT, y))
        tanh = torch.tanh(matvec(inner, z) + bias)
        return y - matvec(frame, matvec(outer, tanh)), -_log_det(tanh, product)


def _log_det(tanh: Tensor, product: Tensor) -> Tensor:
    # equation 11 with a triangular matrix: the product of 1 + p_i (1 - tanh^2)
    return torch.log1p(product * (1.0 - tanh.square())).sum(-1)


def _solve(outer: Tensor, inner: Tensor, bias: Tensor, product: Tensor, target: Tensor) -> Tensor:
    r"""Solve :math:`z + R \tanh(\tilde R z + b) = w`; derivatives by two Newton steps."""
    with torch.no_grad():
        z = _substitute(outer, inner, bias, product, target)
    if not torch.is_grad_enabled():
        return z
    eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    for _ in range(2):
        tanh = torch.tanh(matvec(inner, z) + bias)
        residual = z + matvec(outer, tanh) - target
        jacobian = eye + (outer * (1.0 - tanh.square()).unsqueeze(-2)) @ inner
        step = (residual - residual.detach()).unsqueeze(-1)
        z = z - torch.linalg.solve_triangular(jacobian, step, upper=True).squeeze(-1)
    return z


def _substitute(outer, inner, bias, product, target) -> Tensor:
    """Solve the triangular system from the last coordinate up."""
    shape = torch.broadcast_shapes(target.shape, bias.shape)
    target, bias, product = (t.expand(shape) for t in (target, bias, product))
    z, tanh = torch.zeros_like(target), torch.zeros_like(target)
    for i in reversed(range(shape[-1])):
        offset = bias[..., i] + (inner[..., i, :] * z).sum(-1)
        remainder = target[..., i] - (outer[..., i, :] * tanh).sum(-1)
        scale = inner[..., i, i]
        s = tanh_root(product[..., i], scale * remainder + offset)
        tanh[..., i] = torch.tanh(s)
        z[..., i] = (s - offset) / scale
    return z
