"""Annealing as a start of a guide: a normal distribution, or a mixture where there are modes."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...distributions import FixedMixture
from ...distributions.transforms import FixedAffine
from ..latent_space import UnconstrainedDensity
from ..starts import ANNEALED, StartReport
from ..starts.gaussian import Gaussian
from .annealed import AnnealingError, run_annealing
from .modes import Modes, has_several_modes
from .tempering import Annealing

__all__ = ["MixtureStart", "annealed_start"]

SETTINGS = Annealing(
    num_repeats=4, num_particles=512, num_moves=2, num_leapfrog_steps=6, max_stages=100
)
MAX_DIM = 200


class MixtureStart:
    """A mixture of normals: a base of zero mean and unit covariance, and an affine layer over it.

    Args:
        modes: the mixture.
        like: a tensor of the dtype and device of its arrays.
    """

    def __init__(self, modes: Modes, like: Tensor):
        mixture, mean, scale_tril = modes.mixture.standardized()
        self.loc, self.scale_tril = (
            torch.as_tensor(array).to(like) for array in (mean, scale_tril)
        )
        arrays = (mixture.weights, mixture.locs, mixture.scale_trils)
        self._arrays = [torch.as_tensor(array).to(like) for array in arrays]

    def layer(self) -> FixedAffine:
        """Return the fixed affine transform from the base to the mixture."""
        return FixedAffine(self.loc, self.scale_tril)

    def base(self) -> FixedMixture:
        """Return the base."""
        return FixedMixture(*self._arrays)


def annealed_start(
    model: Callable,
    density: UnconstrainedDensity,
    start: Gaussian,
    report: StartReport,
    args: tuple,
    kwargs: dict,
) -> Gaussian | MixtureStart:
    """Return what annealing found if it is better than ``start``, else ``start``.

    Where it finds several modes a mixture of normals is taken, unless its ELBO is far below that of
    ``start``; where it finds one, the normal distribution of the particles competes as the other
    starts do. The report is completed in place.

    Args:
        model: the model.
        density: its log density.
        start: the best Gaussian start.
        report: what its comparison found.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
    """
    if start.loc.numel() > MAX_DIM:
        report.failed[ANNEALED] = f"it is not tried beyond {MAX_DIM} dimensions"
        return start
    try:
        result = run_annealing(model, density, start, args, kwargs, SETTINGS)
    except AnnealingError as error:
        report.failed[ANNEALED] = str(error)
        return start
    report.annealed, modes, best = result, result.modes, report.elbo[report.chosen]
    if has_several_modes(modes, best):
        report.elbo[ANNEALED] = modes.elbo
        report.chosen = ANNEALED
        return MixtureStart(modes, start.loc)
    report.elbo[ANNEALED] = modes.normal_elbo
    if modes.normal_elbo <= best:
        return start
    report.chosen = ANNEALED
    _, loc, scale_tril = modes.mixture.standardized()
    return Gaussian(*(torch.as_tensor(array).to(start.loc) for array in (loc, scale_tril)))
