"""Flows by their names in the literature: couplings and autoregressive flows in closed form.

Every recipe starts as the identity; where the steps cannot move and scale the whole line by
themselves, as additive maps and splines of an interval cannot, a location-scale layer, which takes
the context too, ends it. All of them sample and score; ``fast`` says which side of an
autoregressive flow is one parallel pass.
"""

from collections.abc import Callable, Sequence

from .._numerics.checks import check_choice
from .flow import Flow
from .recipe_parts import autoregressive, couplings, end_flow, grouped, make_flow, oriented
from .transforms import AdditiveMap, AffineMap, MixtureLogisticMap, RationalQuadraticMap

__all__ = ["flowpp", "iaf", "maf", "nice", "nsf", "realnvp"]


def nice(
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""Additive couplings with alternating masks; both directions are one pass.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of couplings.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> nice(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Dinh et al. 2015, NICE: Non-linear Independent Components Estimation.
    """
    steps = couplings(input_dim, AdditiveMap, num_transforms, hidden_dims, context_dim, activation)
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def realnvp(
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    max_log_scale: float = 2.0,
) -> Flow:
    r"""Affine couplings with alternating masks; both directions are one pass.

    As in the paper, the affine map is that of data to noise, :math:`z_B = x_B e^{s(x_A)} + t(x_A)`,
    which trains more steadily on data than its inverse.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of couplings.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        max_log_scale: bound of the log-scale of each layer, positive. A smaller one extrapolates
            more gently, a larger one reaches further: the density of rows far from all others
            depends on it.

    Example:
        >>> import torch
        >>> realnvp(3, context_dim=2)(torch.zeros(7, 2)).sample().shape
        torch.Size([7, 3])

    References:
        Dinh et al. 2017, Density estimation using Real NVP.
    """
    steps = couplings(
        input_dim,
        lambda: AffineMap(max_log_scale),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
    )
    return make_flow(input_dim, [grouped(oriented(steps, "log_prob"))], base_dist)


def flowpp(
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    num_components: int = 8,
) -> Flow:
    r"""Couplings by mixtures of logistics; scoring is one pass, sampling solves for each input.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of couplings.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        num_components: logistics of each mixture.

    Example:
        >>> flowpp(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Ho et al. 2019, Flow++: Improving Flow-Based Generative Models with Variational
        Dequantization and Architecture Design.
    """
    steps = couplings(
        input_dim,
        lambda: MixtureLogisticMap(num_components, max_log_scale=3.0),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
    )
    steps = oriented(steps, "log_prob")
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def maf(
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    max_log_scale: float = 3.0,
) -> Flow:
    r"""The masked autoregressive flow: scores in one parallel pass.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        max_log_scale: bound of the log-scale of each layer, positive. A smaller one extrapolates
            more gently, a larger one reaches further: the density of rows far from all others
            depends on it.

    Example:
        >>> maf(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation.
    """
    steps = autoregressive(
        input_dim,
        lambda: AffineMap(max_log_scale),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        "log_prob",
    )
    return make_flow(input_dim, [grouped(steps)], base_dist)


def iaf(
    input_dim: int,
    num_transforms: int = 5,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    max_log_scale: float = 7.0,
) -> Flow:
    r"""The inverse autoregressive flow: samples (and scores its samples) in one parallel pass.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of autoregressive transforms, their order alternating.
        hidden_dims: hidden widths of each network.
        context_dim: size of the context, 0 for none.
        activation: activation of the networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        max_log_scale: bound of the log-scale of each layer, positive. A smaller one extrapolates
            more gently, a larger one reaches further: the widths of a funnel need it.

    Example:
        >>> iaf(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow.
    """
    steps = autoregressive(
        input_dim,
        lambda: AffineMap(max_log_scale),
        num_transforms,
        hidden_dims,
        context_dim,
        activation,
        "sample",
    )
    return make_flow(input_dim, [grouped(steps)], base_dist)


def nsf(
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
        >>> nsf(3, kind="autoregressive")().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Durkan et al. 2019, Neural Spline Flows.
    """
    check_choice("kind", kind, ("coupling", "autoregressive"))

    def make_map():
        return RationalQuadraticMap(num_bins, bound)

    args = (input_dim, make_map, num_transforms, hidden_dims, context_dim, activation)
    steps = couplings(*args) if kind == "coupling" else autoregressive(*args, fast)
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)
