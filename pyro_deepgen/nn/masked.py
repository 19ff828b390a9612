"""Masked dense networks (MADE), with the incremental evaluation of their inverse."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.checks import check_context_shape, check_dims, check_positive_int
from .._numerics.masks import made_masks, resolve_order
from ._incremental import Incremental
from .activations import activation_function

__all__ = ["MaskedDense", "MaskedLinear"]


class MaskedLinear(nn.Linear):
    r"""A linear layer :math:`y = (M \odot W) x + b` with a fixed boolean mask.

    Args:
        mask: array of booleans, shape ``(output_dim, input_dim)``.

    Example:
        >>> import numpy, torch
        >>> MaskedLinear(numpy.tri(3, k=-1) > 0)(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(self, mask):
        mask = torch.as_tensor(mask.copy(), dtype=torch.bool)
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("factor", mask.to(self.weight.dtype), persistent=False)

    def masked_weight(self) -> Tensor:
        if not torch.is_grad_enabled():
            return self.weight * self.factor
        # unlike a product, it has no gradient where the mask is False, however large the inputs
        return torch.where(self.mask, self.weight, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.masked_weight(), self.bias)


class MaskedDense(nn.Module):
    r"""A masked dense network: parameters of input ``d`` depend on earlier inputs alone.

    Args:
        input_dim: number ``D`` of inputs.
        num_params: number ``P`` of outputs per input.
        hidden_dims: hidden widths; any width works, also below ``D``.
        context_dim: size of the context, 0 for none. The context enters the first layer, unmasked.
        order: ``'natural'``, ``'reversed'`` or the inputs in the order in which they are visited.
        activation: name or elementwise callable.
        zero_init: whether the last layer starts at zero.

    Shape:
        ``batch_shape + (D,)`` to ``batch_shape + (P, D)`` (parameters-major).

    Example:
        >>> import torch
        >>> MaskedDense(3, num_params=2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2, 3])

    References:
        Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, equations 8-13.
    """

    def __init__(
        self,
        input_dim: int,
        num_params: int = 1,
        hidden_dims: Sequence[int] = (64, 64),
        context_dim: int = 0,
        order: str | Sequence[int] = "natural",
        activation: str | Callable = "silu",
        zero_init: bool = False,
    ):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.num_params = check_positive_int("num_params", num_params)
        self.hidden_dims = check_dims("hidden_dims", hidden_dims)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.order = resolve_order(order, self.input_dim)
        self.activation = activation_function(activation)
        masks = made_masks(self.order, self.hidden_dims, self.num_params, self.context_dim > 0)
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.context_layer = None
        if self.context_dim:
            self.context_layer = nn.Linear(self.context_dim, masks[0].shape[0], bias=False)
        if zero_init:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)
            if self.context_layer is not None and not self.hidden_dims:
                nn.init.zeros_(self.context_layer.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_context_shape(None if context is None else context.shape, self.context_dim)
        h = self.layers[0](x)
        if context is not None:
            h = h + self.context_layer(context)
        for layer in self.layers[1:]:
            h = layer(self.activation(h))
        return h.unflatten(-1, (self.num_params, self.input_dim))

    @torch.no_grad()
    def solve(
        self,
        solve_input: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Find ``x`` with ``solve_input(y, self(x, context)) = x``, computing each unit once.

        Inputs are visited in order. Hidden units are sorted by degree, so the units that become
        computable at a step form a contiguous slice, whose inputs are final: all ``D`` steps
        together cost about one forward pass, not ``D``. No graph is recorded.

        Args:
            solve_input: maps the values ``(N,)`` of one input and its parameters ``(P, N)`` to the
                solutions and the log-derivatives, both ``(N,)``.
            y: shape ``batch_shape + (D,)``.
            context: shape broadcastable to ``batch_shape + (context_dim,)``.

        Returns:
            ``x`` and the log-derivatives, both ``batch_shape + (D,)``.
        """
        check_context_shape(None if context is None else context.shape, self.context_dim)
        leading = y.shape[:-1]
        if context is not None:
            leading = torch.broadcast_shapes(leading, context.shape[:-1])
        y = y.expand(leading + y.shape[-1:]).reshape(-1, self.input_dim)
        offset = None
        if context is not None:
            offset = self.context_layer(context).expand(leading + (-1,))
            offset = offset.reshape(y.shape[0], -1).T
        x, log_det = Incremental(self).run(solve_input, y.T, offset)
        return x.T.reshape(leading + (-1,)).contiguous(), log_det.T.reshape(leading + (-1,))
