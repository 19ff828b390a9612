r"""Gaussian starts for a flow guide, compared by their ELBO.

Each start proposes :math:`q(z) = N(m, L L^T)` on the unconstrained space. The one with the highest
evidence lower bound, estimated with common noise, becomes the affine layer the flow stands on.
Laplace and Pathfinder share one path to the mode.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..._numerics.checks import check_choice
from ..latent_space import UnconstrainedDensity
from .gaussian import Gaussian
from .pathfinder import best_on_path
from .quasi_newton import PathPoint, ascent

if TYPE_CHECKING:
    from ..annealing.result import AnnealedResult

__all__ = ["ANNEALED", "DEFAULT_STARTS", "StartReport", "best_start", "check_starts"]

ANNEALED = "annealed"
INIT_SCALE = 0.1
NUM_ELBO_DRAWS = 128
MEAN_FIELD_STEPS = 400
MEAN_FIELD_PARTICLES = 8
MEAN_FIELD_LEARNING_RATE = 0.05
NUM_RESTARTS = 8
RESTART_RADIUS = 2.0
MAX_DENSE_DIM = 1000


@dataclass
class StartReport:
    """What the comparison of starts found.

    Attributes:
        elbo: estimated bound of each start that worked, in nats.
        failed: reason of each start that did not.
        chosen: name of the start taken.
        annealed: :class:`AnnealedResult` of the start ``'annealed'``, where it was computed: the
            evidence and the modes that it found.
    """

    elbo: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    chosen: str = ""
    annealed: "AnnealedResult | None" = field(default=None, repr=False)


class StartError(RuntimeError):
    """A start that could not be computed; the message says why."""


class Setting:
    """What the starts share: the log density, where to begin, and the path from there to a mode."""

    def __init__(self, density: UnconstrainedDensity, init_loc: Tensor):
        self.density, self.init_loc = density, init_loc
        self.dense = init_loc.numel() <= MAX_DENSE_DIM

    @cached_property
    def path(self) -> list[PathPoint]:
        path = []
        for place in ascent(self.density, self.init_loc):
            path.append(place)
            if not (place.value.isfinite() and place.grad.isfinite().all()):
                raise StartError(
                    "the log density or its gradient is not finite at the initial location"
                )
        return path


def best_start(
    names: Sequence[str], density: UnconstrainedDensity, init_loc: Tensor
) -> tuple[Gaussian, StartReport]:
    """Compute the Gaussian starts called ``names`` and return the one with the highest ELBO.

    ``'annealed'`` is passed over; where nothing else is named, ``'init_loc'`` is computed.

    Returns:
        The start, with a dense scale up to 1000 dimensions, and the report.

    Raises:
        ValueError: if every start fails or has a bound that is not finite; the reasons are named.
    """
    report, starts = StartReport(), {}
    setting = Setting(density, init_loc)
    noise = torch.randn(NUM_ELBO_DRAWS, init_loc.numel()).to(init_loc)
    names = [name for name in dict.fromkeys(names) if name != ANNEALED] or ["init_loc"]
    for name in names:
        try:
            start = STARTS[name](setting)
            report.elbo[name] = _elbo(density, start, noise)
            starts[name] = start.dense() if setting.dense else start
        except (StartError, ArithmeticError, RuntimeError, ValueError) as error:
            # the model may raise what it likes far from its mass
            known = isinstance(error, StartError)
            report.failed[name] = str(error) if known else f"{type(error).__name__}: {error}"
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
    known = (*STARTS, ANNEALED)
    if not names:
        raise ValueError(f"init must name at least one start, got none; pass {known}.")
    return tuple(check_choice("init", name, known) for name in names)


def _elbo(density: UnconstrainedDensity, start: Gaussian, noise: Tensor) -> float:
    with torch.no_grad():
        value = float(density.batch(start.draw(noise)).mean() + start.entropy(noise))
    if value != value or abs(value) == float("inf"):
        raise StartError(f"its ELBO is {value}")
    return value


def _from_init_loc(setting: Setting) -> Gaussian:
    return Gaussian(setting.init_loc, torch.full_like(setting.init_loc, INIT_SCALE))


def _laplace(setting: Setting) -> Gaussian:
    """The mode, and the inverse Hessian there as covariance."""
    if not setting.dense:
        size = setting.init_loc.numel()
        raise StartError(f"its Hessian is not computed beyond the dense limit (D={size})")
    mode = setting.path[-1].point
    precision = -torch.autograd.functional.hessian(setting.density, mode)
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
    return Gaussian(mode, inverse)


def _mean_field(setting: Setting) -> Gaussian:
    """A short mean-field fit by Adam on the reparameterised ELBO."""
    loc, scale = _fit_mean_fields(setting.density, setting.init_loc[None])
    if not (loc.isfinite().all() and scale.isfinite().all()):
        raise StartError("its gradient became infinite or NaN")
    return Gaussian(loc[0], scale[0])


def _multi_start(setting: Setting) -> Gaussian:
    """The best of several short mean-field fits, from places around the initial location."""
    shifts = torch.rand(NUM_RESTARTS, setting.init_loc.numel()).to(setting.init_loc)
    places = setting.init_loc + RESTART_RADIUS * (2.0 * shifts - 1.0)
    noise = torch.randn(NUM_ELBO_DRAWS, setting.init_loc.numel()).to(setting.init_loc)
    found = {}
    for loc, scale in zip(*_fit_mean_fields(setting.density, places), strict=True):
        fit = Gaussian(loc, scale)
        with suppress(StartError):
            found[_elbo(setting.density, fit, noise)] = fit
    if not found:
        raise StartError("no fit has a finite ELBO")
    return found[max(found)]


def _fit_mean_fields(density: UnconstrainedDensity, places: Tensor) -> tuple[Tensor, Tensor]:
    """Locations and scales of fits that run together, shape ``(N, D)``, NaN where one failed."""
    loc = places.clone().requires_grad_()
    log_scale = torch.full_like(loc, INIT_SCALE).log().requires_grad_()
    optimizer = torch.optim.Adam([loc, log_scale], lr=MEAN_FIELD_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, MEAN_FIELD_STEPS)
    for _ in range(MEAN_FIELD_STEPS):
        noise = torch.randn(MEAN_FIELD_PARTICLES, *loc.shape).to(loc)
        values = density.batch((loc + noise * log_scale.exp()).flatten(0, 1))
        bound = values.sum() / MEAN_FIELD_PARTICLES + log_scale.sum()
        loc.grad, log_scale.grad = torch.autograd.grad(-bound, [loc, log_scale])
        optimizer.step()
        schedule.step()
        if not loc.isfinite().any():
            break
    return loc.detach(), log_scale.detach().exp()


def _pathfinder(setting: Setting) -> Gaussian:
    """The best Gaussian on the path to the mode."""
    found = best_on_path(setting.density, setting.path)
    if found is None:
        raise StartError("no point on the path to the mode gives a finite ELBO")
    return found


STARTS: dict[str, Callable[[Setting], Gaussian]] = {
    "init_loc": _from_init_loc,
    "laplace": _laplace,
    "mean_field": _mean_field,
    "pathfinder": _pathfinder,
    "multi_start": _multi_start,
}
# several fits cost as much as several starts, and annealing finds more
DEFAULT_STARTS = ("init_loc", "laplace", "mean_field", "pathfinder")
