"""Flows by their names in the literature: transforms of low rank.

Every recipe ends with a location-scale layer, which takes the context too, and starts as the
identity. Sampling is in closed form; all of them score any point as well.
"""

from collections.abc import Callable, Sequence

from .flow import Flow
from .recipe_parts import end_flow, stack
from .transforms import Planar, Radial, Sylvester

__all__ = ["planar", "radial", "sylvester"]


def planar(
    input_dim: int,
    num_transforms: int = 16,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""Planar transforms; scoring solves one scalar equation a layer.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of planar transforms.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> planar(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, section 4.1.
    """
    steps = stack(num_transforms, lambda _: Planar(input_dim, context_dim, hidden_dims, activation))
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def radial(
    input_dim: int,
    num_transforms: int = 16,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
) -> Flow:
    r"""Radial transforms; both directions are in closed form.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of radial transforms.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.

    Example:
        >>> radial(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, section 4.1.
    """
    steps = stack(num_transforms, lambda _: Radial(input_dim, context_dim, hidden_dims, activation))
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)


def sylvester(
    input_dim: int,
    num_transforms: int = 4,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: str | Callable = "silu",
    base_dist=None,
    rank: int | None = None,
    kind: str = "orthogonal",
    num_reflections: int = 8,
) -> Flow:
    r"""Sylvester transforms; scoring solves one scalar equation for each of ``rank`` columns.

    Args:
        input_dim: number ``D`` of inputs, 1 included.
        num_transforms: number of Sylvester transforms.
        hidden_dims: hidden widths of the networks of the context.
        context_dim: size of the context, 0 for none.
        activation: activation of these networks.
        base_dist: base distribution or module, default :class:`StandardNormal`.
        rank: hidden units of each transform, 1 to ``D``; default ``D``.
        kind: ``'orthogonal'``, ``'householder'`` or ``'triangular'`` (directions alternating).
        num_reflections: for ``'householder'``: number of reflections.

    Example:
        >>> sylvester(3)().sample((4,)).shape
        torch.Size([4, 3])

    References:
        van den Berg et al. 2018, Sylvester Normalizing Flows for Variational Inference.
    """

    def make(i):
        return Sylvester(
            input_dim,
            rank,
            kind,
            context_dim,
            hidden_dims,
            activation,
            num_reflections,
            reverse=i % 2 == 1,
        )

    steps = stack(num_transforms, make)
    return end_flow(input_dim, steps, hidden_dims, context_dim, activation, base_dist)
