"""Flows by their names in the literature: maps whose inverse is numerical.

Every recipe ends with a location-scale layer, which takes the context too. One direction of each
transform is in closed form and parallel; the other is a numerical inverse, exact to rounding at any
distance, with implicit gradients. ``fast`` says which side is the first.
"""

from collections.abc import Callable, Sequence

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
        >>> naf(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Huang et al. 2018, Neural Autoregressive Flows.
    """
    steps = autoregressive(
        input_dim,
        lambda: DeepSigmoidalMap(num_layers, num_components),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        fast,
    )
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def unaf(
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
        >>> unaf(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Wehenkel & Louppe 2019, Unconstrained Monotonic Neural Networks.
    """
    steps = autoregressive(
        input_dim,
        lambda: UnconstrainedMonotonicMap(embedding_dim, integrand_dims, num_nodes, bound),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        fast,
    )
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def bnaf(
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
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden units of *each input*, layer by layer.
        context_dim: size of the context, 0 for none.
        activation: activation of the network of the context, in the location-scale layer.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        fast: the side that is one parallel pass, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> bnaf(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        De Cao et al. 2019, Block Neural Autoregressive Flow.
    """
    orders = ("natural", "reversed")
    steps = stack(
        num_transforms,
        lambda i: BlockNeuralAutoregressive(input_dim, hidden_dims, context_dim, orders[i % 2]),
    )
    steps = oriented(steps, fast)
    return end_flow(input_dim, steps, (64, 64), context_dim, activation, base_dist)


def sospf(
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
        >>> sospf(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Jaini et al. 2019, Sum-of-Squares Polynomial Flow.
    """
    steps = autoregressive(
        input_dim,
        lambda: SumOfSquaresMap(num_polynomials, degree, bound),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        fast,
    )
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def gaussianization(
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
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of elementwise layers, with a learned rotation between two.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        num_components: logistics of each mixture.
        fast: the side that is one parallel pass, ``'log_prob'`` or ``'sample'``.

    Example:
        >>> gaussianization(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Meng et al. 2020, Gaussianization Flows.
    """
    reflections = 2 * ((input_dim + 1) // 2)

    def make(i):
        elementwise = GaussianizationMap(num_components)
        return Elementwise(input_dim, elementwise, context_dim, hidden_dims, activation)

    steps = []
    for layer in oriented(stack(num_transforms, make), fast):
        if steps and input_dim > 1:
            steps.append(Householder(input_dim, reflections, context_dim, hidden_dims, activation))
        steps.append(layer)
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)
