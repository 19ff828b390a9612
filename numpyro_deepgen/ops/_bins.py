r"""Selection of the bin of a spline.

Sizes of the bins are :math:`m + c \, p_k`, with :math:`p` the softmax of raw parameters, ``m`` the
smallest size and ``c`` what is left to share. In bin ``j`` the derivatives of its left edge and its
size have a closed form,

.. math::
    \frac{\partial}{\partial a_k} \sum_{i < j} p_i = p_k \Big([k < j] - \sum_{i < j} p_i\Big),
    \qquad \frac{\partial p_j}{\partial a_k} = p_k ([k = j] - p_j),

so a reverse pass is one elementwise product over all bins, without a cumulative sum or a scatter.

Bins lie on the axis before the last. A loop over them keeps everything elementwise: the compiler
fuses it to few vectorised loops. It repeats cheap operations inside each consumer, but not
divisions, roots and exponentials: hence the places of these.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._clamp import clamp

__all__ = ["MIN_BIN_SIZE", "select_bin"]

# relative to the interval
MIN_BIN_SIZE = 1e-3
MIN_SLOPE = 1e-3
# keeps products of slopes finite in float32, whatever a network puts out
MAX_RAW_SLOPE = 1e3
# softplus(SLOPE_SHIFT) + MIN_SLOPE == 1: raw slopes of zero give unit slopes
SLOPE_SHIFT = math.log(math.expm1(1.0 - MIN_SLOPE))
# exp(80) is finite in float32
MIN_EXPONENT = -80.0
MAX_UNROLLED = 32


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def select_bin(
    point: Array,
    widths: Array,
    heights: Array,
    slopes: Array,
    bound: float,
    inverse: bool,
) -> tuple[Array, ...]:
    r"""Return the bin of each point.

    Args:
        point: shape ``batch_shape + (D,)``, in ``[-bound, bound]``.
        widths: unnormalised bin widths, shape broadcastable to ``batch_shape + (K, D)``.
        heights: unnormalised bin heights, same shape.
        slopes: unconstrained slopes, ``K + 1`` rows, or ``K - 1``, zeros being understood at both
            ends.
        bound: half-width of the interval.
        inverse: whether points lie on the axis of the heights.

    Returns:
        Left edge, width, lower edge, height, left and right slope, each ``batch_shape + (D,)``.
    """
    rank = _rank(point, heights if inverse else widths, bound)
    x_left, width = _edge_and_size(rank, widths, bound)
    y_left, height = _edge_and_size(rank, heights, bound)
    activated = (
        jax.nn.softplus(clamp(raw, upper=MAX_RAW_SLOPE) + SLOPE_SHIFT) + MIN_SLOPE
        for raw in _raw_slopes(rank, slopes, widths.shape[-2])
    )
    return x_left, width, y_left, height, *activated


@select_bin.defjvp
def _select_bin_jvp(bound, inverse, primals, tangents):
    point, widths, heights, slopes = primals
    _, d_widths, d_heights, d_slopes = tangents
    values = select_bin(*primals, bound, inverse)
    searched = heights if inverse else widths
    rank = _rank(*lax.stop_gradient((point, searched)), bound)

    num_bins = widths.shape[-2]
    chosen = rank[..., None, :]
    scale, step = _scale_and_step(num_bins, bound)
    out = []
    for raw, d_raw, left, size in (
        (widths, d_widths, *values[:2]),
        (heights, d_heights, *values[2:4]),
    ):
        weights = _exponentials(raw)
        total, bins = _total(weights), _numbers(weights)
        d_weights = weights * d_raw
        mean = d_weights.sum(-2) / total
        before = scale * jnp.where(bins < chosen, d_weights, 0.0).sum(-2) / total
        within = scale * jnp.where(bins == chosen, d_weights, 0.0).sum(-2) / total
        out.append(before - (left - (step * rank - bound)) * mean)
        out.append(within - (size - step) * mean)
    knots = _numbers(slopes) + (1 if slopes.shape[-2] < num_bins else 0)
    for side, raw in enumerate(_raw_slopes(rank, slopes, num_bins)):
        # 1 / sigmoid, infinite where the slope is clipped
        inverse_sigmoid = 1.0 + jnp.exp(-clamp(raw + SLOPE_SHIFT, MIN_EXPONENT))
        inverse_sigmoid = jnp.where(raw > MAX_RAW_SLOPE, jnp.inf, inverse_sigmoid)
        d_slope = jnp.where(knots == chosen + side, d_slopes, 0.0).sum(-2)
        out.append(d_slope / inverse_sigmoid)
    return values, tuple(out)


def _fold(step: Callable, state, num: int):
    """Return the state after ``step(k, state)`` for ``k = 0, ..., num - 1``."""
    if num > MAX_UNROLLED:
        return lax.fori_loop(0, num, step, state)
    for k in range(num):
        state = step(k, state)
    return state


def _scale_and_step(num_bins: int, bound: float) -> tuple[float, float]:
    return 2.0 * bound * (1.0 - MIN_BIN_SIZE * num_bins), 2.0 * bound * MIN_BIN_SIZE


def _exponentials(raw: Array) -> Array:
    """Return ``(..., K, D)`` proportional to the softmax over bins."""
    top = _fold(
        lambda k, top: jnp.maximum(top, raw[..., k + 1, :]), raw[..., 0, :], raw.shape[-2] - 1
    )
    return jnp.exp(raw - lax.stop_gradient(top)[..., None, :])


def _total(weights: Array) -> Array:
    return _fold(
        lambda k, total: total + weights[..., k + 1, :], weights[..., 0, :], weights.shape[-2] - 1
    )


def _numbers(rows: Array) -> Array:
    return jnp.arange(rows.shape[-2], dtype=rows.dtype)[:, None]


def _rank(point: Array, raw: Array, bound: float) -> Array:
    """Return the number of the bin of each point (left edges included), as a float."""
    weights = _exponentials(raw)
    num_bins = weights.shape[-2]
    scale, step = _scale_and_step(num_bins, bound)
    scale = scale / _total(weights)

    def visit(k, state):
        before, square = state
        before = before + weights[..., k, :]
        passed = point >= before * scale + (step * (k + 1) - bound)
        return before, square + jnp.where(passed, 2.0 * k + 1.0, 0.0).astype(point.dtype)

    shape = jnp.broadcast_shapes(point.shape, scale.shape)
    start = (jnp.zeros_like(scale), jnp.zeros(shape, point.dtype))
    # 1 + 3 + ... + (2 j - 1) = j^2: the root is a place where the compiler keeps the result
    return jnp.sqrt(_fold(visit, start, num_bins - 1)[1])


def _edge_and_size(rank: Array, raw: Array, bound: float) -> tuple[Array, Array]:
    weights = _exponentials(raw)
    num_bins = weights.shape[-2]
    scale, step = _scale_and_step(num_bins, bound)
    scale = scale / _total(weights)

    def visit(k, state):
        before, size = state
        before = before + jnp.where(rank > k, weights[..., k, :], 0.0)
        return before, jnp.where(rank > k, weights[..., k + 1, :], size)

    first = jnp.broadcast_to(weights[..., 0, :], rank.shape)
    before, size = _fold(visit, (jnp.zeros_like(rank), first), num_bins - 1)
    return before * scale + (step * rank - bound), size * scale + step


def _raw_slopes(rank: Array, slopes: Array, num_bins: int) -> tuple[Array, Array]:
    """Return the raw slopes at both ends of the chosen bin."""
    zero = jnp.zeros_like(rank)
    num_slopes = slopes.shape[-2]
    if num_slopes > num_bins:
        first, shift = jnp.broadcast_to(slopes[..., 0, :], rank.shape), 1
    else:
        first, shift = zero, 0

    def visit(k, state):
        left, right = state
        row = slopes[..., k + shift, :]
        return jnp.where(rank > k, row, left), jnp.where(rank == k, row, right)

    last = jnp.broadcast_to(slopes[..., -1, :], rank.shape) if shift else zero
    return _fold(visit, (first, last), num_slopes - 2 * shift)
