r"""Implicit gradients of the inverse of a triangular map."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["triangular_inverse"]


def triangular_inverse(
    solve: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]],
    image: nn.Module,
    y: Tensor,
    context: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Invert a map whose Jacobian is triangular in some order of its inputs.

    No graph of the solver is kept; first derivatives only.

    Args:
        solve: maps ``y`` and the context to ``x`` and the elementwise log-derivatives of the
            inverse, without a graph.
        image: the map and its parameters: a module whose call with ``x`` and the context gives
            ``y`` and the elementwise log-derivatives.
        y: shape ``batch_shape + (D,)``.
        context: shape broadcastable to ``batch_shape + (context_dim,)``, or None.

    Returns:
        ``x`` and the log-determinant of the inverse.
    """
    if not torch.is_grad_enabled():
        x, log_det = solve(y, context)
        return x, log_det.sum(-1)
    parameters = dict(image.named_parameters())
    inputs = (y, context, *parameters.values())
    if not any(tensor is not None and tensor.requires_grad for tensor in inputs):
        x, log_det = solve(y, context)
        return x, log_det.sum(-1)
    x = _ImplicitInverse.apply(solve, image, tuple(parameters), *inputs)
    return x, -image(x, context)[1].sum(-1)


class _ImplicitInverse(torch.autograd.Function):
    r"""Solve :math:`y = f(x; c, w)` for ``x``; the backward pass is one triangular solve.

    With the Jacobian :math:`J = \partial f / \partial x` at the solution, a cotangent ``g`` of
    ``x`` becomes :math:`v = J^{-T} g` of ``y`` and :math:`-v^T \partial f / \partial (c, w)`.
    """

    @staticmethod
    def forward(ctx, solve, image, names, y, context, *weights):
        x, _ = solve(y, context)
        ctx.image, ctx.names, ctx.shape = image, names, y.shape
        ctx.save_for_backward(x, context, *weights)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, context, *weights = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            leaves = [
                None if t is None else t.detach().requires_grad_() for t in [context, *weights]
            ]
            values = dict(zip(ctx.names, leaves[1:], strict=True))
            y, log_det = torch.func.functional_call(ctx.image, values, (x, leaves[0]))
        cotangent = _solve_transposed(x, y, log_det.detach().exp(), grad)
        wanted = [leaf for leaf in leaves if leaf is not None]
        grads = iter(torch.autograd.grad(y, wanted, -cotangent, allow_unused=True))
        grads = [None if leaf is None else next(grads) for leaf in leaves]
        return None, None, None, cotangent.sum_to_size(ctx.shape), *grads


def _solve_transposed(x: Tensor, y: Tensor, diagonal: Tensor, grad: Tensor) -> Tensor:
    r"""Solve :math:`J^T v = g` for triangular ``J`` with a known diagonal, by fixed-point steps.

    The iteration :math:`v \leftarrow v + (g - J^T v) / \mathrm{diag}(J)` is exact after ``D`` steps
    (its error is multiplied by a nilpotent matrix) and stops as soon as it no longer moves.
    """
    info = torch.finfo(x.dtype)
    tolerance, largest = 8.0 * info.eps, info.max**0.25
    # a vanishing derivative gives a large cotangent, not an infinite one
    diagonal = diagonal.clamp(min=1.0 / largest)
    v = (grad / diagonal).clamp(-largest, largest)
    for _ in range(x.shape[-1] - 1):
        (product,) = torch.autograd.grad(y, x, v, retain_graph=True)
        step = (grad - product) / diagonal
        v = (v + step).clamp(-largest, largest)
        if bool((step.abs() <= tolerance * (1.0 + v.abs())).all()):
            break
    return v
