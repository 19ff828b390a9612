"""Flows by their names in the literature: maps whose inverse is numerical.

Every recipe ends with a location-scale layer, which takes the context too. One direction of each
transform is in closed form and parallel; the other is a numerical inverse, exact to rounding at any
distance, with implicit gradients. ``fast`` says which side is the first.
"""

from collections.abc import Callable, Sequence

import jax
from jax import Array

from ..ops._random import check_rng_key
from .flow import Flow
from .recipe_parts import autoregressive, end_flow, oriented, stack
from .transforms import (
    BlockNeuralAutoregressive,
    DeepSigmoidalMap,
    Elementwise,
    GaussianizationMap,
    Householder,
    SumOfSquaresMap,
    UnconstrainedMonotonicMap,
)

__all__ = ["bnaf", "gaussianization", "naf", "sospf", "unaf"]


def naf(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 3,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    num_layers: int = 2,
    num_components: int = 8,
    fast: str = "log_prob",
) -> Flow:
    r"""The neural autoregressive flow: an autoregressive stack of sigmoidal mixtures.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        num_layers: layers of each deep sigmoidal map.
        num_components: sigmoids of each layer.
        fast: the side that is one parallel pass, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> import jax
        >>> flow = naf(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Huang et al. 2018, Neural Autoregressive Flows.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    steps = autoregressive(
        step_key,
        input_dim,
        lambda _: DeepSigmoidalMap(num_layers, num_components),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        fast,
    )
    return end_flow(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def unaf(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 3,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    embedding_dim: int = 8,
    integrand_dims: Sequence[int] = (32, 32),
    num_nodes: int = 16,
    bound: float = 5.0,
    fast: str = "log_prob",
) -> Flow:
    r"""The unconstrained monotonic autoregressive flow: integrals of positive networks.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        embedding_dim: what the autoregressive network tells the integrand about each input.
        integrand_dims: hidden widths of the integrand.
        num_nodes: nodes of the quadrature.
        bound: half-width of the interval where the integrand varies.
        fast: the side that is one parallel pass, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> import jax
        >>> flow = unaf(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Wehenkel & Louppe 2019, Unconstrained Monotonic Neural Networks.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    steps = autoregressive(
        step_key,
        input_dim,
        lambda key: UnconstrainedMonotonicMap(key, embedding_dim, integrand_dims, num_nodes, bound),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        fast,
    )
    return end_flow(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def bnaf(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (8, 8),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    fast: str = "log_prob",
) -> Flow:
    r"""The block neural autoregressive flow: masked networks that increase in their own input.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden units of *each input*, layer by layer.
        context_dim: size of the context, 0 for none.
        activation: activation of the network of the context, in the location-scale layer.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        fast: the side that is one parallel pass, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> import jax
        >>> flow = bnaf(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        De Cao et al. 2019, Block Neural Autoregressive Flow.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    orders = ("natural", "reversed")
    steps = stack(
        step_key,
        num_transforms,
        lambda key, i: BlockNeuralAutoregressive(
            key, input_dim, hidden_dims, context_dim, orders[i % 2]
        ),
    )
    steps = oriented(steps, fast)
    return end_flow(last_key, input_dim, steps, (64, 64), context_dim, activation, base_dist)


def sospf(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 3,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    num_polynomials: int = 3,
    degree: int = 4,
    bound: float = 10.0,
    fast: str = "log_prob",
) -> Flow:
    r"""The sum-of-squares polynomial flow, autoregressive.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        num_polynomials: squares in each sum.
        degree: degree of each polynomial that is squared.
        bound: half-width of the interval of the polynomials; linear beyond.
        fast: the side that is one parallel pass, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> import jax
        >>> flow = sospf(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Jaini et al. 2019, Sum-of-Squares Polynomial Flow.
    """
    step_key, last_key = jax.random.split(check_rng_key(rng_key))
    steps = autoregressive(
        step_key,
        input_dim,
        lambda _: SumOfSquaresMap(num_polynomials, degree, bound),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        fast,
    )
    return end_flow(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def gaussianization(
    rng_key: Array,
    input_dim: int,
    num_transforms: int = 6,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    num_components: int = 8,
    fast: str = "log_prob",
) -> Flow:
    r"""The Gaussianization flow: inputs made normal one by one, between rotations.

    Unlike the others it starts near the identity, not at it: each layer starts at a mixture of
    logistics that is close to a standard normal.

    Args:
        rng_key: random key of the starting weights.
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of elementwise layers, with a learned rotation between two.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        num_components: logistics of each mixture.
        fast: the side that is one parallel pass, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> import jax
        >>> flow = gaussianization(jax.random.key(0), 3)
        >>> flow().sample(jax.random.key(1), (4,)).shape
        (4, 3)

    References:
        Meng et al. 2020, Gaussianization Flows.
    """
    step_key, rotation_key, last_key = jax.random.split(check_rng_key(rng_key), 3)
    reflections = 2 * ((input_dim + 1) // 2)

    def make(key, _):
        elementwise = GaussianizationMap(num_components)
        return Elementwise(key, input_dim, elementwise, context_dim, hidden_dims, activation)

    def rotate(key):
        return Householder(key, input_dim, reflections, context_dim, hidden_dims, activation)

    layers = oriented(stack(step_key, num_transforms, make), fast)
    steps = layers[:1]
    for key, layer in zip(jax.random.split(rotation_key, len(layers)), layers[1:], strict=False):
        steps += [rotate(key), layer] if input_dim > 1 else [layer]
    return end_flow(last_key, input_dim, steps, hidden_dims, context_dim, activation, base_dist)
