r"""Masked autoregressive transforms, both directions at about the cost of one forward pass."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import constraints
from torch import Tensor, nn

from ..._numerics.checks import check_choice
from ...nn import MaskedDense
from ._fixed_point import fixed_point, passes
from ._implicit import triangular_inverse
from .base import Transform
from .elementwise import AffineMap, ElementwiseMap, start_free, vector_support

__all__ = ["MaskedAutoregressive"]

# inputs up to which as many passes as inputs are the fastest inverse
MAX_PASSES_DIM = 2
# inputs up to which visiting one after the other is the faster inverse on an accelerator
MAX_INCREMENTAL_DIM = 16


class MaskedAutoregressive(Transform):
    r"""The transform :math:`y_i = f(x_i; \theta_i(x_{<i}, c))`, ``<`` in a fixed order.

    The forward direction is one parallel pass. The inverse has two solvers. The incremental one
    visits the inputs in order and computes each hidden unit once, so all ``D`` steps cost about the
    arithmetic of one pass. The fixed-point one repeats passes over all inputs at once until none
    moves by more than rounding, at most ``D`` of them, usually about ten. Gradients are implicit
    with both (no graph of the steps is kept; first derivatives only).
    :class:`Inverse` of this transform is the orientation whose inverse is parallel, that of the
    masked autoregressive flow.

    Args:
        input_dim: number ``D`` of inputs; 1 is allowed.
        elementwise: map of each input, default :class:`AffineMap`.
        hidden_dims: hidden widths of the masked network.
        context_dim: size of the context, 0 for none.
        order: ``'natural'``, ``'reversed'`` or the inputs in the order in which they are visited.
        activation: activation of the network.
        solver: of the inverse: ``'incremental'``, ``'fixed_point'``, or ``'auto'``: as many passes
            as inputs up to two inputs, the fixed point on an accelerator for more than 16 inputs,
            else incremental.

    Raises:
        ValueError: if the solver has another name.

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
        solver: str = "auto",
    ):
        super().__init__(input_dim, context_dim)
        self.solver = check_choice("solver", solver, ("auto", "incremental", "fixed_point"))
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
        last = self.network.layers[-1]
        start_free(self.elementwise, self.input_dim, last.bias, last.weight)

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
        image = _Image(self.network, self.elementwise)
        return triangular_inverse(self._solve, image, y, context)

    def _solve(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        solve_input = self.elementwise.inverse_and_log_det
        solver = self._solver(y)
        if solver is None:
            return self.network.solve(solve_input, y, context)
        leading = y.shape[:-1]
        if context is not None:
            leading = torch.broadcast_shapes(leading, context.shape[:-1])
        start = y.new_zeros(leading + y.shape[-1:])
        return solver(lambda x: solve_input(y, self.network(x, context)), start)

    def _solver(self, y: Tensor) -> Callable | None:
        """Return the solver that works on all inputs at once, or None."""
        if self.solver != "auto":
            return fixed_point if self.solver == "fixed_point" else None
        if self.input_dim <= MAX_PASSES_DIM:
            return passes
        on_accelerator = y.device.type != "cpu" and self.input_dim > MAX_INCREMENTAL_DIM
        return fixed_point if on_accelerator else None


class _Image(nn.Module):
    """The image and the elementwise log-derivatives, a module of both sets of parameters."""

    def __init__(self, network: MaskedDense, elementwise: ElementwiseMap):
        super().__init__()
        self.network, self.elementwise = network, elementwise

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.elementwise.forward_and_log_det(x, self.network(x, context))
