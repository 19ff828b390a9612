r"""Gaussian starts for a flow guide, compared by their ELBO.

Each start proposes :math:`q(z) = N(m, L L^T)` on the unconstrained space. The one with the highest
evidence lower bound, estimated with common noise, becomes the affine layer the flow stands on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Normal

from .._numerics.checks import check_choice
from .latent_space import UnconstrainedDensity

__all__ = ["STARTS", "Start", "StartReport", "best_start"]

INIT_SCALE = 0.1
NUM_ELBO_DRAWS = 128
MEAN_FIELD_STEPS = 400
MEAN_FIELD_PARTICLES = 8
MEAN_FIELD_LEARNING_RATE = 0.05
MAX_NEWTON_STEPS = 200


@dataclass(frozen=True)
class Start:
    """A Gaussian: ``loc`` of shape ``(D,)``, ``scale`` of shape ``(D,)`` or lower ``(D, D)``."""

    loc: Tensor
    scale: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        return self.loc + (noise * self.scale if self.scale.ndim == 1 else noise @ self.scale.mT)

    def log_scale(self) -> Tensor:
        return (self.scale if self.scale.ndim == 1 else self.scale.diagonal()).log().sum()


@dataclass
class StartReport:
    """What the comparison of starts found.

    Attributes:
        elbo: estimated bound of each start that worked, in nats.
        failed: reason of each start that did not.
        chosen: name of the start taken.
    """

    elbo: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    chosen: str = ""


class StartError(RuntimeError):
    """A start that could not be computed; the message says why."""


def best_start(
    names: Sequence[str], density: UnconstrainedDensity, init_loc: Tensor, dense: bool
) -> tuple[Start, StartReport]:
    """Compute the starts called ``names`` and return the one with the highest ELBO.

    Raises:
        ValueError: if every start fails or has a bound that is not finite; the reasons are named.
    """
    report, starts = StartReport(), {}
    noise = torch.randn(NUM_ELBO_DRAWS, init_loc.numel()).to(init_loc)
    for name in names:
        try:
            starts[name] = STARTS[name](density, init_loc, dense)
            report.elbo[name] = _elbo(density, starts[name], noise)
        except StartError as error:
            report.failed[name] = str(error)
    if not report.elbo:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report.failed.items())
        raise ValueError(
            f"init must hold a start that works on this model, got {list(names)} ({reasons}); "
            "pass an init_loc_fn at which the log density is finite."
        )
    report.chosen = max(report.elbo, key=report.elbo.__getitem__)
    return starts[report.chosen], report


def check_starts(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of starts as a tuple, or raise if one is unknown or there is none."""
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names:
        raise ValueError(f"init must name at least one start, got none; pass {tuple(STARTS)}.")
    return tuple(check_choice("init", name, tuple(STARTS)) for name in names)


def _elbo(density: UnconstrainedDensity, start: Start, noise: Tensor) -> float:
    with torch.no_grad():
        entropy = start.log_scale() - Normal(0.0, 1.0).log_prob(noise).sum(-1).mean()
        value = float(density.batch(start.draw(noise)).mean() + entropy)
    if value != value or abs(value) == float("inf"):
        raise StartError(f"its ELBO is {value}")
    return value


def _from_init_loc(density: UnconstrainedDensity, init_loc: Tensor, dense: bool) -> Start:
    return Start(init_loc, torch.full_like(init_loc, INIT_SCALE))


def _laplace(density: UnconstrainedDensity, init_loc: Tensor, dense: bool) -> Start:
    """Mode by L-BFGS, covariance from the inverse Hessian (its diagonal where not ``dense``)."""
    mode = _find_mode(density, init_loc)
    if not dense:
        raise StartError(f"its Hessian is not computed beyond the dense limit (D={mode.numel()})")
    precision = -torch.autograd.functional.hessian(density, mode)
    precision = 0.5 * (precision + precision.mT)
    if not precision.isfinite().all():
        raise StartError("the Hessian at the mode is not finite")
    # L^-T of the reversed factor gives the lower factor of the inverse
    factor, info = torch.linalg.cholesky_ex(precision.flip(0, 1))
    if info.item():
        raise StartError("the Hessian at the mode is not negative definite")
    identity = torch.eye(mode.numel(), dtype=mode.dtype, device=mode.device)
    inverse = torch.linalg.solve_triangular(factor.flip(0, 1).mT, identity, upper=False)
    if not (inverse.isfinite().all() and (inverse.diagonal() > 0).all()):
        raise StartError("the Hessian at the mode is singular")
    return Start(mode, inverse)


def _find_mode(density: UnconstrainedDensity, init_loc: Tensor) -> Tensor:
    point = init_loc.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [point], max_iter=MAX_NEWTON_STEPS, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = -density(point)
        if loss.isnan():
            raise StartError("the log density became NaN on the way to the mode")
        (point.grad,) = torch.autograd.grad(loss, [point])
        return loss.detach()

    optimizer.step(closure)
    if not point.isfinite().all():
        raise StartError("the search for the mode diverged")
    return point.detach()


def _mean_field(density: UnconstrainedDensity, init_loc: Tensor, dense: bool) -> Start:
    """A short mean-field fit by Adam on the reparameterised ELBO."""
    loc = init_loc.clone().requires_grad_()
    log_scale = torch.full_like(init_loc, INIT_SCALE).log().requires_grad_()
    optimizer = torch.optim.Adam([loc, log_scale], lr=MEAN_FIELD_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, MEAN_FIELD_STEPS)
    for _ in range(MEAN_FIELD_STEPS):
        noise = torch.randn(MEAN_FIELD_PARTICLES, loc.numel()).to(loc)
        bound = density.batch(loc + noise * log_scale.exp()).mean() + log_scale.sum()
        grads = torch.autograd.grad(-bound, [loc, log_scale])
        if not all(grad.isfinite().all() for grad in grads):
            raise StartError("its gradient became infinite or NaN")
        loc.grad, log_scale.grad = grads
        optimizer.step()
        schedule.step()
    return Start(loc.detach(), log_scale.detach().exp())


STARTS: dict[str, Callable[[UnconstrainedDensity, Tensor, bool], Start]] = {
    "init_loc": _from_init_loc,
    "laplace": _laplace,
    "mean_field": _mean_field,
}
