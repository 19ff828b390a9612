r"""Increasing masked networks in blocks, with the incremental evaluation of their inverse.

Every input owns a block of hidden units in every layer. A weight between blocks of one input is
positive, so that each output increases in its own input; a weight to a later input is free; one to
an earlier input is zero.
"""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .._numerics.checks import check_context_shape, check_dims, check_positive_int
from .._numerics.masks import block_masks, input_ranks, resolve_order
from ..ops._random import check_rng_key
from ..ops.constraining import above_minus_one
from ..ops.root_finding import expand_bracket, monotone_root
from ._linear import Linear

__all__ = ["BlockDense", "BlockLinear"]

LEAK = 0.1
MAX_LOG_WEIGHT = 5.0
# the gate has one number a layer to learn, which has further to go than a weight
GATE_GAIN = 4.0


def leaky_tanh(x: Array) -> tuple[Array, Array]:
    r"""Return :math:`0.1 x + 0.9 \tanh x`, which is onto the line, and its derivative."""
    tanh = jnp.tanh(x)
    return LEAK * x + (1.0 - LEAK) * tanh, LEAK + (1.0 - LEAK) * (1.0 - jnp.square(tanh))


class BlockLinear(eqx.Module):
    r"""A linear layer in blocks, with normalised rows: :math:`e^{s} \odot V x / |V| + b`.

    ``V`` is :math:`e^{w}` in the diagonal blocks, ``w`` below and zero above; exponents are bounded
    by 5.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of blocks.
        num_in: units of each block that enters.
        num_out: units of each block that leaves.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> BlockLinear(jax.random.key(0), 3, 1, 4)(jnp.ones((2, 3))).shape
        (2, 12)

    References:
        De Cao et al. 2019, Block Neural Autoregressive Flow, equations 8-10.
    """

    weight: Array
    log_scale: Array
    bias: Array
    input_dim: int = eqx.field(static=True)
    num_in: int = eqx.field(static=True)
    num_out: int = eqx.field(static=True)

    def __init__(self, rng_key: Array, input_dim: int, num_in: int, num_out: int):
        weight_key, bias_key = jax.random.split(check_rng_key(rng_key))
        self.input_dim, self.num_in, self.num_out = input_dim, num_in, num_out
        shape = (input_dim * num_out, input_dim * num_in)
        self.weight = jax.random.normal(weight_key, shape) / math.sqrt(input_dim)
        self.log_scale = jnp.zeros(shape[0])
        self.bias = jax.random.normal(bias_key, shape[:1])

    def weight_and_blocks(self) -> tuple[Array, Array]:
        """Return the weight and its diagonal blocks, ``(D, num_out, num_in)``."""
        diagonal, below = block_masks(self.input_dim, self.num_out, self.num_in)
        weight = jnp.where(below, self.weight, 0.0)
        weight = jnp.where(diagonal, _bounded_exp(self.weight), weight)
        # equations 9-10: weight normalisation
        scale = _bounded_exp(self.log_scale) / jnp.sqrt(jnp.square(weight).sum(-1))
        weight = weight * scale[:, None]
        blocks = weight.reshape(self.input_dim, self.num_out, self.input_dim, self.num_in)
        return weight, jnp.moveaxis(jnp.diagonal(blocks, axis1=0, axis2=2), -1, 0)

    def __call__(self, x: Array) -> Array:
        return x @ self.weight_and_blocks()[0].T + self.bias


class BlockDense(eqx.Module):
    r"""An increasing residual network in blocks, :math:`y_i = x_i + \alpha_i f_i(x_{\le i}, c)`.

    Activations are leaky hyperbolic tangents, whose slope is at most 1, so that the product
    :math:`F_i` of the diagonal blocks bounds the slope of :math:`f_i` in :math:`x_i`. The gate
    :math:`\alpha_i = m_i / (1 + F_i)` with a learned :math:`m_i > -1` keeps the sum increasing, and
    :math:`m_i = 0`, the start, makes it the identity. (The paper's gate lies between 0 and 1, where
    the identity is out of reach.)

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs.
        hidden_dims: hidden units of *each input*, layer by layer.
        context_dim: size of the context, 0 for none. The context enters the first layer.
        order: ``'natural'``, ``'reversed'`` or the inputs in the order in which they are visited.

    Shape:
        ``batch_shape + (D,)`` to the image and the log-derivatives :math:`\partial y_i / \partial
        x_i`, both ``batch_shape + (D,)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> BlockDense(jax.random.key(0), 3)(jnp.ones((2, 3)))[0].tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]

    References:
        De Cao et al. 2019, Block Neural Autoregressive Flow, sections 3.1-3.3.
    """

    layers: tuple[BlockLinear, ...]
    context_layer: Linear | None
    gate: Array
    input_dim: int = eqx.field(static=True)
    hidden_dims: tuple[int, ...] = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)
    order: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        hidden_dims: Sequence[int] = (8, 8),
        context_dim: int = 0,
        order: str | Sequence[int] = "natural",
    ):
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.hidden_dims = check_dims("hidden_dims", hidden_dims)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.order = resolve_order(order, self.input_dim)
        dims = (1, *self.hidden_dims, 1)
        context_key, *keys = jax.random.split(check_rng_key(rng_key), len(dims))
        self.layers = tuple(
            BlockLinear(key, self.input_dim, dims[i], dims[i + 1]) for i, key in enumerate(keys)
        )
        self.context_layer = None
        if self.context_dim:
            self.context_layer = Linear(
                context_key, self.context_dim, self.input_dim * dims[1], use_bias=False
            )
        self.gate = jnp.zeros(self.input_dim)

    def _weights_and_gate(self) -> tuple[list[Array], list[Array], Array]:
        """Return the weights, their diagonal blocks and the gate, ``(D,)``."""
        weights, blocks = zip(*(layer.weight_and_blocks() for layer in self.layers), strict=True)
        bound = blocks[0]
        for block in blocks[1:]:
            bound = block @ bound
        return weights, blocks, above_minus_one(GATE_GAIN * self.gate) / (1.0 + bound[:, 0, 0])

    def __call__(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        check_context_shape(None if context is None else context.shape, self.context_dim)
        weights, blocks, gate = self._weights_and_gate()
        x = x[..., np.asarray(self.order)]
        h, slope = x, jnp.ones((self.input_dim, 1), x.dtype)
        for level, layer in enumerate(self.layers):
            if level:
                h, local = leaky_tanh(h)
                slope = slope * local.reshape(local.shape[:-1] + (self.input_dim, -1))
            h = h @ weights[level].T + layer.bias
            if level == 0 and context is not None:
                h = h + self.context_layer(context)
            # all factors are positive, so that nothing cancels
            slope = jnp.einsum("dij,...dj->...di", blocks[level], slope)
        y = x + gate * h
        log_det = jnp.broadcast_to(jnp.log1p(gate * slope[..., 0]), y.shape)
        restore = input_ranks(self.order)
        return y[..., restore], log_det[..., restore]

    def solve(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Find ``x`` with ``self(x, context)[0] = y``, computing each block once.

        Inputs are visited in order, one scalar root each. What finished blocks add to a block is
        computed once, so that all steps together cost one forward pass and the roots' own blocks.
        The steps are one ``lax.scan``.

        Args:
            y: shape ``batch_shape + (D,)``.
            context: shape broadcastable to ``batch_shape + (context_dim,)``.

        Returns:
            ``x`` and the log-derivatives of the inverse, both ``batch_shape + (D,)``.
        """
        check_context_shape(None if context is None else context.shape, self.context_dim)
        leading = y.shape[:-1]
        offset = None
        if context is not None:
            leading = jnp.broadcast_shapes(leading, context.shape[:-1])
            offset = self.context_layer(context)
            offset = jnp.broadcast_to(offset, leading + offset.shape[-1:])
            offset = offset.reshape(-1, offset.shape[-1]).T
        y = jnp.broadcast_to(y, leading + y.shape[-1:]).reshape(-1, self.input_dim)
        x, log_det = _solve_in_order(self, y[:, np.asarray(self.order)].T, offset)
        restore = input_ranks(self.order)
        return tuple(a[restore].T.reshape(leading + (-1,)) for a in (x, log_det))


def _solve_in_order(net: BlockDense, y: Array, offset: Array | None) -> tuple[Array, Array]:
    """Solve for blocks one after the other; all arrays are feature-major, ``(units, N)``."""
    weights, blocks, gate = net._weights_and_gate()
    dtype = jnp.result_type(y, *weights, *([] if offset is None else [offset]))
    # rows (D, num_out, units): what each block takes from finished ones
    rows, biases = [], []
    for level, (layer, weight) in enumerate(zip(net.layers, weights, strict=True)):
        below = block_masks(net.input_dim, layer.num_out, layer.num_in)[1]
        shape = (net.input_dim, layer.num_out, -1)
        rows.append(jnp.where(below, weight, 0.0).reshape(shape))
        bias = layer.bias[:, None]
        biases.append((bias if level or offset is None else bias + offset).reshape(shape))

    def visit(known, step):
        index, target, rows, biases, blocks, gate = step
        offsets = [row @ units + bias for row, units, bias in zip(rows, known, biases, strict=True)]

        def residual(point):
            image, slope, _ = _evaluate_block(point, gate, blocks, offsets)
            return image - target, slope

        x = monotone_root(residual, *expand_bracket(residual, target))
        _, slope, entering = _evaluate_block(x, gate, blocks, offsets)
        known = tuple(
            lax.dynamic_update_slice_in_dim(units, h.astype(dtype), index * h.shape[0], 0)
            for units, h in zip(known, entering, strict=True)
        )
        return known, (x, -jnp.log(slope))

    known = tuple(jnp.zeros((weight.shape[1], y.shape[1]), dtype) for weight in weights)
    steps = (np.arange(net.input_dim), y.astype(dtype), rows, biases, list(blocks), gate)
    return lax.scan(visit, known, steps)[1]


def _evaluate_block(point: Array, gate: Array, blocks: list[Array], offsets: list[Array]):
    """Return the image and slope of one input and what enters each of its layers."""
    h, slope = point[None], jnp.ones_like(point)[None]
    entering = []
    for level, (block, offset) in enumerate(zip(blocks, offsets, strict=True)):
        if level:
            h, local = leaky_tanh(h)
            slope = slope * local
        entering.append(h)
        h, slope = offset + block @ h, block @ slope
    return point + gate * h[0], 1.0 + gate * slope[0], entering


def _bounded_exp(raw: Array) -> Array:
    return jnp.exp(MAX_LOG_WEIGHT * jnp.tanh(raw / MAX_LOG_WEIGHT))
