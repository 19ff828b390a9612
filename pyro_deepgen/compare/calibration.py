"""Simulation-based calibration of the methods: run again on data drawn from the model itself.

References:
    Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian inference algorithms with
    simulation-based calibration", 2018.
"""

from dataclasses import dataclass, field

import numpy as np

from .._numerics.calibration import MIN_SIMULATIONS, Uniformity, rank_statistics, uniformity
from .errors import CompareError
from .progress import progress_bar
from .scalars import scalars, spread_draws
from .simulation import simulated, with_data

__all__ = ["Calibration", "calibrate", "check_simulations"]

NUM_RANKED = 99
MIN_P_VALUE = 0.01


@dataclass
class Calibration:
    """The ranks of the truth among a method's draws.

    Attributes:
        ranks: scalar -> ranks, shape ``(simulations,)``.
        num_draws: number of draws that the truth was ranked among.
        tests: scalar -> what its ranks say.
        errors: what went wrong in simulations that were left out.
    """

    ranks: dict[str, np.ndarray] = field(default_factory=dict)
    num_draws: int = NUM_RANKED
    tests: dict[str, Uniformity] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def worst(self) -> str | None:
        """The scalar whose ranks are the least uniform, None without ranks."""
        return min(self.tests, key=lambda name: self.tests[name].ecdf_p_value, default=None)

    @property
    def p_value(self) -> float | None:
        """Probability of ranks as uneven as the worst, all scalars taken together (Bonferroni)."""
        if self.worst is None:
            return None
        return min(1.0, len(self.tests) * self.tests[self.worst].ecdf_p_value)

    @property
    def calibrated(self) -> bool:
        """Whether nothing speaks against the method."""
        return self.p_value is not None and self.p_value >= MIN_P_VALUE


def check_simulations(count: int) -> None:
    """Raise :class:`CompareError` for a number of simulations out of range."""
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not whole or (count != 0 and count < MIN_SIMULATIONS):
        raise CompareError(
            f"sbc must be 0 or an integer of at least {MIN_SIMULATIONS}, got {count!r}"
        )


def calibrate(comparison, context, chosen, count: int, progress: bool) -> dict[str, Calibration]:
    """Run each method on ``count`` simulated data sets and rank the truth among its draws.

    Args:
        comparison: gives the settings.
        context: model and data.
        chosen: the methods by name.
        count: number of simulations.
        progress: whether to show a bar.
    """
    sites = comparison.model.latent_shapes
    truths, draws = {}, {name: [] for name in chosen}
    found = {name: Calibration() for name in chosen}
    with progress_bar("calibration", progress) as bar:
        bar.reset(total=count * len(chosen))
        for index in range(count):
            truths[index], data = simulated(context, index)
            fresh = with_data(context, data, index)
            for name, method in chosen.items():
                try:
                    result = method.run(fresh, comparison.settings, _Silent())
                    draws[name].append((index, _ranked_draws(result.draws, sites)))
                except Exception as error:
                    found[name].errors.append(f"{type(error).__name__}: {error}"[:200])
                bar.update(1)
    for name, calibration in found.items():
        _rank(calibration, draws[name], truths)
    return found


def _rank(calibration: Calibration, draws: list, truths: dict) -> None:
    """Set the ranks and their tests."""
    if len(draws) < MIN_SIMULATIONS:
        return
    size = min(len(next(iter(values.values()))) for _, values in draws)
    calibration.num_draws = size
    for site in draws[0][1]:
        stacked = np.stack([values[site][:size] for _, values in draws])
        truth = np.stack([truths[index][site] for index, _ in draws])
        ranks = rank_statistics(stacked, truth)
        # named as everywhere: one column a scalar
        for label, column in _columns(site, ranks).items():
            calibration.ranks[label] = column
            calibration.tests[label] = uniformity(column, size)


def _columns(site: str, ranks: np.ndarray) -> dict[str, np.ndarray]:
    columns = {}
    for index in np.ndindex(ranks.shape[1:]):
        label = f"[{','.join(map(str, index))}]" if index else ""
        columns[f"{site}{label}"] = ranks[(slice(None), *index)]
    return columns


def _ranked_draws(draws: dict, sites) -> dict[str, np.ndarray]:
    """Draws spread evenly over the chains, far enough apart to be nearly independent."""
    if not scalars(draws, sites):
        raise ValueError("no draw of a latent site varies")
    return spread_draws(draws, sites, NUM_RANKED)


class _Silent:
    """A progress bar that shows nothing."""

    n, total = 0, 0

    def reset(self, total=None) -> None:
        """Set the total."""
        self.n, self.total = 0, total

    def update(self, n=1) -> None:
        """Move on."""
        self.n += n
