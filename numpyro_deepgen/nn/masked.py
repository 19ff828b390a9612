"""Masked dense networks (MADE), with the incremental evaluation of their inverse."""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .._numerics.checks import check_context_shape, check_dims, check_positive_int
from .._numerics.masks import made_masks, resolve_order
from ..ops._random import check_rng_key
from ._incremental import solve_incrementally
from ._linear import Linear, affine_product
from .activations import activation_function

__all__ = ["MaskedDense", "MaskedLinear"]


class MaskedLinear(eqx.Module):
    r"""A linear layer :math:`y = (M \odot W) x + b` with a fixed boolean mask.

    Args:
        rng_key: random key of the starting weights.
        mask: array of booleans, shape ``(output_dim, input_dim)``.

    Example:
        >>> import jax, jax.numpy as jnp, numpy
        >>> MaskedLinear(jax.random.key(0), numpy.tri(3, k=-1) > 0)(jnp.ones((2, 3))).shape
        (2, 3)
    """

    weight: Array
    bias: Array
    packed_mask: tuple[bytes, tuple[int, int]] = eqx.field(static=True)

    def __init__(self, rng_key: Array, mask):
        mask = np.asarray(mask, dtype=bool)
        linear = Linear(check_rng_key(rng_key), *mask.shape[::-1])
        self.weight, self.bias = linear.weight, linear.bias
        self.packed_mask = _packed(mask)

    @property
    def mask(self) -> np.ndarray:
        content, shape = self.packed_mask
        bits = np.unpackbits(np.frombuffer(content, np.uint8), count=shape[0] * shape[1])
        return bits.astype(bool).reshape(shape)

    def masked_weight(self) -> Array:
        return jnp.where(self.mask, self.weight, 0.0)

    def __call__(self, x: Array) -> Array:
        return x @ self.masked_weight().T + self.bias


class MaskedDense(eqx.Module):
    r"""A masked dense network: parameters of input ``d`` depend on earlier inputs alone.

    Args:
        rng_key: random key of the starting weights.
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
        >>> import jax, jax.numpy as jnp
        >>> MaskedDense(jax.random.key(0), 3, num_params=2)(jnp.zeros((5, 3))).shape
        (5, 2, 3)

    References:
        Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, equations 8-13.
    """

    layers: tuple[MaskedLinear, ...]
    context_layer: Linear | None
    input_dim: int = eqx.field(static=True)
    num_params: int = eqx.field(static=True)
    hidden_dims: tuple[int, ...] = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)
    order: tuple[int, ...] = eqx.field(static=True)
    activation: str | Callable = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        num_params: int = 1,
        hidden_dims: Sequence[int] = (64, 64),
        context_dim: int = 0,
        order: str | Sequence[int] = "natural",
        activation: str | Callable = "silu",
        zero_init: bool = False,
    ):
        rng_key = check_rng_key(rng_key)
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.num_params = check_positive_int("num_params", num_params)
        self.hidden_dims = check_dims("hidden_dims", hidden_dims)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.order = resolve_order(order, self.input_dim)
        activation_function(activation)
        self.activation = activation
        masks = made_masks(self.order, self.hidden_dims, self.num_params, self.context_dim > 0)
        context_key, *keys = jax.random.split(rng_key, len(masks) + 1)
        layers = [MaskedLinear(key, mask) for key, mask in zip(keys, masks, strict=True)]
        if zero_init:
            layers[-1] = jax.tree.map(jnp.zeros_like, layers[-1])
        self.layers = tuple(layers)
        self.context_layer = None
        if self.context_dim:
            self.context_layer = Linear(
                context_key,
                self.context_dim,
                masks[0].shape[0],
                use_bias=False,
                zero_init=zero_init and not self.hidden_dims,
            )

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        check_context_shape(None if context is None else context.shape, self.context_dim)
        activation = activation_function(self.activation)
        *hidden, last = self.layers
        h = x
        for i, layer in enumerate(hidden):
            h = layer(h)
            if i == 0 and context is not None:
                h = h + self.context_layer(context)
            h = activation(h)
        h = affine_product(h, last.masked_weight(), last.bias)
        if not hidden and context is not None:
            h = h + self.context_layer(context)
        return h.reshape(h.shape[:-1] + (self.num_params, self.input_dim))

    def reordered(self, order: Sequence[int]) -> "MaskedDense":
        """Return the same network of inputs and outputs that come in another order.

        Args:
            order: the input that comes first, the second one and so on.
        """
        places = np.argsort(order)
        visited = tuple(int(places[i]) for i in self.order)
        rows = np.arange(self.num_params * self.input_dim).reshape(self.num_params, -1)
        rows = rows[:, np.asarray(order)].reshape(-1)
        masks = made_masks(visited, self.hidden_dims, self.num_params, self.context_dim > 0)
        weights, biases = zip(*((layer.weight, layer.bias) for layer in self.layers), strict=True)
        weights = [weights[0][:, np.asarray(order)], *weights[1:]]
        weights[-1], biases = weights[-1][rows], [*biases[:-1], biases[-1][rows]]
        layers = tuple(
            _replaced(layer, weight=weight, bias=bias, packed_mask=_packed(mask))
            for layer, weight, bias, mask in zip(self.layers, weights, biases, masks, strict=True)
        )
        context_layer = self.context_layer
        if context_layer is not None and not self.hidden_dims:
            context_layer = _replaced(context_layer, weight=context_layer.weight[rows])
        return _replaced(self, layers=layers, order=visited, context_layer=context_layer)

    def solve(
        self,
        solve_input: Callable[[Array, Array], tuple[Array, Array]],
        y: Array,
        context: Array | None = None,
    ) -> tuple[Array, Array]:
        r"""Find ``x`` with ``solve_input(y, self(x, context)) = x``, computing each unit once.

        Inputs are visited in order. Hidden units are sorted by degree, so the units that become
        computable at a step form a contiguous slice, whose inputs are final: all ``D`` steps
        together cost about one forward pass, not ``D``. The steps are one ``lax.scan``; forward
        derivatives pass through it, reverse ones would keep every step.

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
        offset = None
        if context is not None:
            leading = jnp.broadcast_shapes(leading, context.shape[:-1])
            offset = self.context_layer(context)
            offset = jnp.broadcast_to(offset, leading + offset.shape[-1:])
            offset = offset.reshape(-1, offset.shape[-1]).T
        y = jnp.broadcast_to(y, leading + y.shape[-1:]).reshape(-1, self.input_dim)
        solved = solve_incrementally(self, solve_input, y.T, offset)
        x, log_det = (a.T.reshape(leading + (self.input_dim,)) for a in solved)
        return x, log_det


def _packed(mask: np.ndarray) -> tuple[bytes, tuple[int, int]]:
    return np.packbits(mask).tobytes(), mask.shape


def _replaced(module: eqx.Module, **fields) -> eqx.Module:
    """Return a copy with other values of some fields; the constructor would draw anew."""
    new = object.__new__(type(module))
    for field in dataclasses.fields(module):
        value = fields[field.name] if field.name in fields else getattr(module, field.name)
        object.__setattr__(new, field.name, value)
    return new
