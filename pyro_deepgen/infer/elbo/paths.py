"""Log weights whose gradients go along the draws of the guide alone."""

from collections.abc import Callable

from torch import Tensor

from .particles import Program
from .sites import Plate
from .weights import path_factor

__all__ = ["log_weights_along_draws"]


def log_weights_along_draws(
    program: Program, terms: Callable, plans: list, alpha: float, doubly: bool
) -> Tensor:
    """Log weights whose derivatives in the guide's parameters go along the draws alone.

    Args:
        program: what runs the particles.
        terms: function that gives their ``'log_weights'``, and leaves their plan in ``plans``.
        plans: list of the plan of the weights, filled by ``terms``.
        alpha: order of the bound.
        doubly: whether the gradient is doubly reparameterised, else it sticks the landing.

    Returns:
        Log weights of shape ``(K,) + plate sizes``.
    """
    factors: list[Tensor] = []

    def at(value: Tensor, node: dict, particles: int | None, part: slice) -> Tensor:
        if not doubly or not value.requires_grad:
            return value

        def weigh(gradient: Tensor) -> Tensor:
            plates = () if plans[0] is None else plans[0].plates
            factor = factors[0][part] if particles is not None else factors[0][part.start]
            return gradient * _aligned(factor, plates, particles, node["fn"].event_dim)

        # a tensor of its own: the guide's other sites keep the gradient as it is
        value = value.view_as(value)
        value.register_hook(weigh)
        return value

    log_weights = program.particles_at_draws(terms, at)["log_weights"]
    factors.append(path_factor(log_weights.detach(), alpha))
    return log_weights


def _aligned(
    factor: Tensor, plates: tuple[Plate, ...], particles: int | None, event_dim: int
) -> Tensor:
    """Factors of shape ``(K,) + plate sizes`` with the dimensions of a site's value."""
    dims = [*([] if particles is None else [particles]), *(plate.dim for plate in plates)]
    shape = [1] * max((-dim for dim in dims), default=0)
    for dim, size in zip(dims, factor.shape, strict=True):
        shape[dim] = size
    return factor.reshape((*shape, *(1,) * event_dim))
