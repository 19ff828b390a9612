"""Masked dense networks (MADE), with the incremental evaluation of their inverse."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.checks import check_context_shape, check_dims, check_positive_int
from .._numerics.masks import hidden_degrees, made_masks, resolve_order
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

    def masked_weight(self) -> Tensor:
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
            solve_input: maps one input's value ``(N, 1)`` and its parameters ``(N, P, 1)`` to the
                solution and a log-derivative, both ``(N, 1)``.
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
        x, log_det = _Incremental(self, offset, y.shape[0]).run(solve_input, y)
        return x.reshape(leading + (-1,)), log_det.reshape(leading + (-1,))


class _Incremental:
    """One incremental evaluation; activations are stored feature-major, ``(units, N)``."""

    def __init__(self, net: MaskedDense, offset: Tensor | None, size: int):
        self.net, self.offset = net, offset
        self.weights = [layer.masked_weight() for layer in net.layers]
        self.weights[0] = self.weights[0][:, list(net.order)]
        shape = (net.num_params, net.input_dim, -1)
        self.last_weight = self.weights.pop().view(shape).transpose(0, 1).contiguous()
        self.last_bias = net.layers[-1].bias.view(shape[:2])
        if offset is not None and not net.hidden_dims:
            self.last_offset = offset.view(net.num_params, net.input_dim, size)
        else:
            self.last_offset = None
        has_context = net.context_dim > 0
        degrees = [hidden_degrees(net.input_dim, width, has_context) for width in net.hidden_dims]
        # ends[l][r]: units of layer l that are known once the inputs of rank below r are
        ranks = range(net.input_dim)
        self.ends = [[int((d <= r).sum()) for r in ranks] for d in degrees]
        weight = self.last_weight
        self.hidden = [weight.new_zeros(width, size) for width in net.hidden_dims]
        self.inputs = weight.new_zeros(net.input_dim, size)

    def run(self, solve_input, y: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = torch.empty_like(y), torch.empty_like(y)
        for rank, index in enumerate(self.net.order):
            self._update_hidden(rank)
            params = self._output(rank, index).T.unsqueeze(-1)
            value, term = solve_input(y[:, index : index + 1], params)
            x[:, index], log_det[:, index] = value[:, 0], term[:, 0]
            self.inputs[rank] = value[:, 0]
        return x, log_det

    def _update_hidden(self, rank: int) -> None:
        below = self.inputs[:rank]
        for level, weight in enumerate(self.weights):
            start = self.ends[level][rank - 1] if rank else 0
            end = self.ends[level][rank]
            if end > start:
                bias = self.net.layers[level].bias[start:end, None]
                if level == 0 and self.offset is not None:
                    bias = bias + self.offset[start:end]
                rows = torch.addmm(bias, weight[start:end, : below.shape[0]], below)
                self.hidden[level][start:end] = self.net.activation(rows)
            below = self.hidden[level][:end]

    def _output(self, rank: int, index: int) -> Tensor:
        bias = self.last_bias[:, index, None]
        if self.last_offset is not None:
            bias = bias + self.last_offset[:, index]
        if self.hidden:
            known = self.hidden[-1][: self.ends[-1][rank]]
        else:
            known = self.inputs[:rank]
        return torch.addmm(bias, self.last_weight[index][:, : known.shape[0]], known)
