"""Flows by their names in the literature, each starting as the identity.

Every recipe ends with a location-scale layer, which takes the context too. All of them sample and
score in both directions; ``fast`` says which side of an autoregressive flow is one parallel pass.
"""

from collections.abc import Callable, Sequence

import jax
from jax import Array

from .._numerics.checks import check_choice, check_positive_int
from ..ops._random import check_rng_key
from .bases import StandardNormal
from .flow import Flow
from .transforms import (
    AffineMap,
    Coupling,
    ElementwiseAffine,
    ElementwiseMap,
    Inverse,
    MaskedAutoregressive,
    Planar,
    RationalQuadraticMap,
)

__all__ = ["iaf", "maf", "nsf", "planar", "realnvp"]


def realnvp(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""Affine couplings with alternating masks; both directions are one pass.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of couplings.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> flow = realnvp(jax.random.key(0), 3, context_dim=2)
        >>> flow(jnp.zeros((7, 2))).sample(jax.random.key(1)).shape
        (7, 3)

    References:
        Dinh et al. 2017, Density estimation using Real NVP.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    steps = _couplings(
        step_key, input_dim, AffineMap(), num_transforms, hidden_dims, context_dim, activation
    )
    return _finish(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def maf(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""The masked autoregressive flow: scores in one parallel pass.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> import jax
        >>> maf(jax.random.key(0), 3)().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    shared = (hidden_dims, context_dim, activation)
    steps = _autoregressive(step_key, input_dim, AffineMap(), num_transforms, *shared, "log_prob")
    return _finish(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def iaf(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""The inverse autoregressive flow: samples (and scores its samples) in one parallel pass.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> import jax
        >>> iaf(jax.random.key(0), 3)().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    shared = (hidden_dims, context_dim, activation)
    steps = _autoregressive(step_key, input_dim, AffineMap(), num_transforms, *shared, "sample")
    return _finish(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def nsf(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    num_bins: int = 8,
    bound: float = 5.0,
    kind: str = "coupling",
    fast: str = "log_prob",
) -> Flow:
    r"""The neural spline flow, of couplings or autoregressive.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of spline transforms.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        num_bins: bins of each spline, 2 to 500.
        bound: half-width of the interval that the bins cover.
        kind: ``'coupling'`` (both directions are one pass) or ``'autoregressive'``.
        fast: for ``'autoregressive'``: the parallel side, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> import jax
        >>> flow = nsf(jax.random.key(0), 3, kind="autoregressive")
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Durkan et al. 2019, Neural Spline Flows.
    """
    check_choice("kind", kind, ("coupling", "autoregressive"))
    elementwise = RationalQuadraticMap(num_bins, bound)
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    args = (step_key, input_dim, elementwise, num_transforms, hidden_dims, context_dim, activation)
    steps = _couplings(*args) if kind == "coupling" else _autoregressive(*args, fast)
    return _finish(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def planar(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 16,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""Planar transforms; sampling is closed-form, scoring solves one scalar equation a layer.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of planar transforms.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> import jax
        >>> planar(jax.random.key(0), 3)().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, section 4.1.
    """
    count = check_positive_int("num_transforms", num_transforms)
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    steps = [
        Planar(key, input_dim, context_dim, hidden_dims, activation)
        for key in jax.random.split(step_key, count)
    ]
    return _finish(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def _couplings(
    rng_key: Array,
    input_dim: int,
    elementwise: ElementwiseMap,
    num_transforms: int,
    hidden_dims: Sequence[int],
    context_dim: int,
    activation: str | Callable,
) -> list[Coupling]:
    count = check_positive_int("num_transforms", num_transforms)
    masks = ("alternate", "alternate_flipped")
    return [
        Coupling(key, input_dim, elementwise, masks[i % 2], hidden_dims, context_dim, activation)
        for i, key in enumerate(jax.random.split(rng_key, count))
    ]


def _autoregressive(
    rng_key: Array,
    input_dim: int,
    elementwise: ElementwiseMap,
    num_transforms: int,
    hidden_dims: Sequence[int],
    context_dim: int,
    activation: str | Callable,
    fast: str,
) -> list[MaskedAutoregressive | Inverse]:
    check_choice("fast", fast, ("log_prob", "sample"))
    count = check_positive_int("num_transforms", num_transforms)
    orders = ("natural", "reversed")
    steps = [
        MaskedAutoregressive(
            key, input_dim, elementwise, hidden_dims, context_dim, orders[i % 2], activation
        )
        for i, key in enumerate(jax.random.split(rng_key, count))
    ]
    return steps if fast == "sample" else [Inverse(step) for step in steps]


def _finish(rng_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist) -> Flow:
    location_scale = ElementwiseAffine(rng_key, input_dim, context_dim, hidden_dims, activation)
    base_dist = StandardNormal(input_dim) if base_dist is None else base_dist
    return Flow(base_dist, [*steps, location_scale])
