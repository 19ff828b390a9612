r"""Increasing masked networks in blocks, with the incremental evaluation of their inverse.

Every input owns a block of hidden units in every layer. A weight between blocks of one input is
positive, so that each output increases in its own input; a weight to a later input is free; one to
an earlier input is zero.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._numerics.checks import check_context_shape, check_dims, check_positive_int
from .._numerics.masks import block_masks, resolve_order
from ..ops.constraining import above_minus_one
from ..ops.root_finding import expand_bracket, monotone_root

__all__ = ["BlockDense", "BlockLinear"]

LEAK = 0.1
MAX_LOG_WEIGHT = 5.0
# the gate has one number a layer to learn, which has further to go than a weight
GATE_GAIN = 4.0


def leaky_tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`0.1 x + 0.9 \tanh x`, which is onto the line, and its derivative."""
    tanh = torch.tanh(x)
    return LEAK * x + (1.0 - LEAK) * tanh, LEAK + (1.0 - LEAK) * (1.0 - tanh.square())


class BlockLinear(nn.Module):
    r"""A linear layer in blocks, with normalised rows: :math:`e^{s} \odot V x / |V| + b`.

    ``V`` is :math:`e^{w}` in the diagonal blocks, ``w`` below and zero above; exponents are bounded
    by 5.

    Args:
        input_dim: number ``D`` of blocks.
        num_in: units of each block that enters.
        num_out: units of each block that leaves.

    Example:
        >>> import torch
        >>> BlockLinear(3, 1, 4)(torch.ones(2, 3)).shape
        torch.Size([2, 12])

    References:
        De Cao et al. 2019, Block Neural Autoregressive Flow, equations 8-10.
    """

    def __init__(self, input_dim: int, num_in: int, num_out: int):
        super().__init__()
        self.input_dim, self.num_in, self.num_out = input_dim, num_in, num_out
        shape = (input_dim * num_out, input_dim * num_in)
        self.weight = nn.Parameter(torch.randn(shape) / math.sqrt(input_dim))
        self.log_scale = nn.Parameter(torch.zeros(shape[0]))
        self.bias = nn.Parameter(torch.randn(shape[0]))
        for name, mask in zip(
            ("diagonal", "below"), block_masks(input_dim, num_out, num_in), strict=True
        ):
            self.register_buffer(name, torch.tensor(mask), persistent=False)

    def weight_and_blocks(self) -> tuple[Tensor, Tensor]:
        """Return the weight and its diagonal blocks, ``(D, num_out, num_in)``."""
        weight = torch.where(self.below, self.weight, 0.0)
        weight = torch.where(self.diagonal, _bounded_exp(self.weight), weight)
        # equations 9-10: weight normalisation
        scale = _bounded_exp(self.log_scale) / weight.square().sum(-1).sqrt()
        weight = weight * scale.unsqueeze(-1)
        blocks = weight.view(self.input_dim, self.num_out, self.input_dim, self.num_in)
        return weight, blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight_and_blocks()[0], self.bias)


class BlockDense(nn.Module):
    r"""An increasing residual network in blocks, :math:`y_i = x_i + \alpha_i f_i(x_{\le i}, c)`.

    Activations are leaky hyperbolic tangents, whose slope is at most 1, so that the product
    :math:`F_i` of the diagonal blocks bounds the slope of :math:`f_i` in :math:`x_i`. The gate
    :math:`\alpha_i = m_i / (1 + F_i)` with a learned :math:`m_i > -1` keeps the sum increasing, and
    :math:`m_i = 0`, the start, makes it the identity. (The paper's gate lies between 0 and 1, where
    the identity is out of reach.)

    Args:
        input_dim: number ``D`` of inputs.
        hidden_dims: hidden units of *each input*, layer by layer.
        context_dim: size of the context, 0 for none. The context enters the first layer.
        order: ``'natural'``, ``'reversed'`` or the inputs in the order in which they are visited.

    Shape:
        ``batch_shape + (D,)`` to the image and the log-derivatives :math:`\partial y_i / \partial
        x_i`, both ``batch_shape + (D,)``.

    Example:
        >>> import torch
        >>> BlockDense(3)(torch.ones(2, 3))[0].tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]

    References:
        De Cao et al. 2019, Block Neural Autoregressive Flow, sections 3.1-3.3.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int] = (8, 8),
        context_dim: int = 0,
        order: str | Sequence[int] = "natural",
    ):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.hidden_dims = check_dims("hidden_dims", hidden_dims)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.order = resolve_order(order, self.input_dim)
        index = torch.tensor(self.order)
        self.register_buffer("visited", index, persistent=False)
        self.register_buffer("restore", index.argsort(), persistent=False)
        dims = (1, *self.hidden_dims, 1)
        self.layers = nn.ModuleList(
            BlockLinear(self.input_dim, dims[i], dims[i + 1]) for i in range(len(dims) - 1)
        )
        self.context_layer = None
        if self.context_dim:
            self.context_layer = nn.Linear(self.context_dim, self.input_dim * dims[1], bias=False)
        self.gate = nn.Parameter(torch.zeros(self.input_dim))

    def _gate(self, blocks: Sequence[Tensor]) -> Tensor:
        bound = blocks[0]
        for block in blocks[1:]:
            bound = block @ bound
        return above_minus_one(GATE_GAIN * self.gate) / (1.0 + bound[:, 0, 0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_context_shape(None if context is None else context.shape, self.context_dim)
        weights, blocks = zip(*(layer.weight_and_blocks() for layer in self.layers), strict=True)
        x = x[..., self.visited]
        h, slope = x, x.new_ones(self.input_dim, 1)
        for level, (layer, weight, block) in enumerate(
            zip(self.layers, weights, blocks, strict=True)
        ):
            if level:
                h, local = leaky_tanh(h)
                slope = slope * local.unflatten(-1, (self.input_dim, -1))
            h = functional.linear(h, weight, layer.bias)
            if level == 0 and context is not None:
                h = h + self.context_layer(context)
            # all factors are positive, so that nothing cancels
            slope = torch.einsum("dij,...dj->...di", block, slope)
        gate = self._gate(blocks)
        y = x + gate * h
        log_det = torch.log1p(gate * slope.squeeze(-1)).expand(y.shape)
        return y[..., self.restore], log_det[..., self.restore]

    @torch.no_grad()
    def solve(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Find ``x`` with ``self(x, context)[0] = y``, computing each block once.

        Inputs are visited in order, one scalar root each. What finished blocks add to a block is
        computed once, so that all steps together cost one forward pass and the roots' own blocks.
        No graph is recorded.

        Args:
            y: shape ``batch_shape + (D,)``.
            context: shape broadcastable to ``batch_shape + (context_dim,)``.

        Returns:
            ``x`` and the log-derivatives of the inverse, both ``batch_shape + (D,)``.
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
        x, log_det = _BlockSolver(self, offset, y.shape[0]).run(y[:, self.visited].T)
        x, log_det = x.T[:, self.restore], log_det.T[:, self.restore]
        return x.reshape(leading + (-1,)), log_det.reshape(leading + (-1,))


class _BlockSolver:
    """One incremental inverse; activations are stored feature-major, ``(units, N)``."""

    def __init__(self, net: BlockDense, offset: Tensor | None, size: int):
        self.offset = offset
        self.weights, self.blocks = zip(
            *(layer.weight_and_blocks() for layer in net.layers), strict=True
        )
        self.biases = [layer.bias.unsqueeze(-1) for layer in net.layers]
        self.gate = net._gate(self.blocks)
        self.known = [weight.new_zeros(weight.shape[1], size) for weight in self.weights]

    def run(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = torch.empty_like(y), torch.empty_like(y)
        for i, target in enumerate(y):
            offsets = [self._offset(level, i) for level in range(len(self.weights))]

            def residual(point, i=i, target=target, offsets=offsets):
                image, slope, _ = self._evaluate(i, point, offsets)
                return image - target, slope

            x[i] = monotone_root(residual, *expand_bracket(residual, target))
            _, slope, inputs = self._evaluate(i, x[i], offsets)
            log_det[i] = -slope.log()
            for known, value in zip(self.known, inputs, strict=True):
                known[i * value.shape[0] : (i + 1) * value.shape[0]] = value
        return x, log_det

    def _offset(self, level: int, i: int) -> Tensor:
        """Return what finished blocks, the bias and the context add to block ``i``."""
        num_out, num_in = self.blocks[level].shape[1:]
        rows = slice(i * num_out, (i + 1) * num_out)
        bias = self.biases[level][rows]
        if level == 0 and self.offset is not None:
            bias = bias + self.offset[rows]
        finished = i * num_in
        weight = self.weights[level][rows, :finished]
        return torch.addmm(bias, weight, self.known[level][:finished])

    def _evaluate(self, i: int, point: Tensor, offsets: list[Tensor]):
        """Return the image and slope of input ``i`` and what enters each of its layers."""
        h, slope = point.unsqueeze(0), torch.ones_like(point).unsqueeze(0)
        inputs = []
        for level, offset in enumerate(offsets):
            if level:
                h, local = leaky_tanh(h)
                slope = slope * local
            inputs.append(h)
            block = self.blocks[level][i]
            h, slope = offset + block @ h, block @ slope
        return point + self.gate[i] * h[0], 1.0 + self.gate[i] * slope[0], inputs


def _bounded_exp(raw: Tensor) -> Tensor:
    return (MAX_LOG_WEIGHT * torch.tanh(raw / MAX_LOG_WEIGHT)).exp()
