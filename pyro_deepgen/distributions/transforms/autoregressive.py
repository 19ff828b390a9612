r"""Masked autoregressive transforms, both directions at about the cost of one forward pass."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import constraints
from torch import Tensor

from ...nn import MaskedDense
from .base import Transform
from .elementwise import AffineMap, ElementwiseMap, vector_support

__all__ = ["MaskedAutoregressive"]


class MaskedAutoregressive(Transform):
    r"""The transform :math:`y_i = f(x_i; \theta_i(x_{<i}, c))`, ``<`` in a fixed order.

    The forward direction is one parallel pass. The inverse visits the inputs in order and computes
    each hidden unit once, so all ``D`` steps cost about the arithmetic of one pass; its gradients
    are implicit (no graph of the steps is kept; first derivatives only).
    :class:`Inverse` of this transform is the orientation whose inverse is parallel, that of the
    masked autoregressive flow.

    Args:
        input_dim: number ``D`` of inputs; 1 is allowed.
        elementwise: map of each input, default :class:`AffineMap`.
        hidden_dims: hidden widths of the masked network.
        context_dim: size of the context, 0 for none.
        order: ``'natural'``, ``'reversed'`` or the inputs in the order in which they are visited.
        activation: activation of the network.

    Example:
        >>> import torch
        >>> transform = MaskedAutoregressive(3)
        >>> transform(torch.ones(4, 3)).shape, transform.inv(torch.ones(4, 3)).shape
        (torch.Size([4, 3]), torch.Size([4, 3]))

    References:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation, section 3;
        Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow.
    """

    fast = "forward"

    def __init__(
        self,
        input_dim: int,
        elementwise: ElementwiseMap | None = None,
        hidden_dims: Sequence[int] = (64, 64),
        context_dim: int = 0,
        order: str | Sequence[int] = "natural",
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim)
        self.elementwise = AffineMap() if elementwise is None else elementwise
        self.network = MaskedDense(
            input_dim,
            self.elementwise.num_params,
            hidden_dims,
            context_dim,
            order,
            activation,
            zero_init=True,
        )

    @property
    def domain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    @property
    def codomain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    def forward_and_log_det(self, x, context=None):
        y, log_det = self.elementwise.forward_and_log_det(x, self.network(x, context))
        return y, log_det.sum(-1)

    def inverse_and_log_det(self, y, context=None):
        parameters = dict(self.network.named_parameters())
        inputs = (y, context, *parameters.values())
        needs_grad = torch.is_grad_enabled() and any(
            tensor is not None and tensor.requires_grad for tensor in inputs
        )
        if not needs_grad:
            x, log_det = self.network.solve(self.elementwise.inverse_and_log_det, y, context)
            return x, log_det.sum(-1)
        x = _ImplicitInverse.apply(self, tuple(parameters), *inputs)
        return x, -self.forward_and_log_det(x, context)[1]


class _ImplicitInverse(torch.autograd.Function):
    r"""Solve :math:`y = f(x; c, w)` for ``x``; the backward pass is one triangular solve.

    With the Jacobian :math:`J = \partial f / \partial x` at the solution, a cotangent ``g`` of
    ``x`` becomes :math:`v = J^{-T} g` of ``y`` and :math:`-v^T \partial f / \partial (c, w)`.
    """

    @staticmethod
    def forward(ctx, transform, names, y, context, *weights):
        x, _ = transform.network.solve(transform.elementwise.inverse_and_log_det, y, context)
        ctx.transform, ctx.names, ctx.shape = transform, names, y.shape
        ctx.save_for_backward(x, context, *weights)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, context, *weights = ctx.saved_tensors
        transform, names = ctx.transform, ctx.names
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            leaves = [
                None if t is None else t.detach().requires_grad_() for t in [context, *weights]
            ]
            values = dict(zip(names, leaves[1:], strict=True))
            params = torch.func.functional_call(transform.network, values, (x, leaves[0]))
            y, log_det = transform.elementwise.forward_and_log_det(x, params)
        cotangent = _solve_transposed(x, y, log_det.detach().exp(), grad)
        wanted = [leaf for leaf in leaves if leaf is not None]
        grads = iter(torch.autograd.grad(y, wanted, -cotangent, allow_unused=True))
        grads = [None if leaf is None else next(grads) for leaf in leaves]
        return None, None, cotangent.sum_to_size(ctx.shape), *grads


def _solve_transposed(x: Tensor, y: Tensor, diagonal: Tensor, grad: Tensor) -> Tensor:
    r"""Solve :math:`J^T v = g` for triangular ``J`` with a known diagonal, by fixed-point steps.

    The iteration :math:`v \leftarrow v + (g - J^T v) / \mathrm{diag}(J)` is exact after ``D`` steps
    (its error is multiplied by a nilpotent matrix) and stops as soon as it no longer moves.
    """
    tolerance = 8.0 * torch.finfo(x.dtype).eps
    v = grad / diagonal
    for _ in range(x.shape[-1] - 1):
        (product,) = torch.autograd.grad(y, x, v, retain_graph=True)
        step = (grad - product) / diagonal
        v = v + step
        if bool((step.abs() <= tolerance * (1.0 + v.abs())).all()):
            break
    return v
