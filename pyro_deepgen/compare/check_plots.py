"""Figures of posterior predictive checks and of simulation-based calibration."""

import numpy as np

__all__ = ["check_figures"]

MAX_COLUMNS = 4
SHOWN = ("mean", "sd", "min", "max")


def check_figures(figure_class, comparison) -> dict:
    """The figures that there are data for, by file name.

    Args:
        figure_class: matplotlib's.
        comparison: a :class:`~.comparison.Comparison`.
    """
    figures = {}
    if comparison.predictive:
        figures["predictive.png"] = _predictive(figure_class, comparison.predictive)
    tested = {name: found for name, found in comparison.calibration.items() if found.tests}
    if tested:
        figures["calibration.png"] = _calibration(figure_class, tested)
    return figures


def _predictive(figure_class, predictive: dict):
    """A row a method, a column a statistic of the first observed site."""
    figure = figure_class(figsize=(2.4 * len(SHOWN), 1.9 * len(predictive)), layout="constrained")
    for row, (name, checks) in enumerate(predictive.items()):
        shown = [c for c in checks if c.site == checks[0].site and c.statistic in SHOWN]
        for column, check in enumerate(shown):
            axes = figure.add_subplot(len(predictive), len(SHOWN), row * len(SHOWN) + column + 1)
            finite = check.replicated[np.isfinite(check.replicated)]
            axes.hist(finite, bins=30, color="0.7")
            axes.axvline(check.observed, color="C3")
            axes.set_yticks([])
            axes.tick_params(labelsize=6)
            axes.set_title(f"{check.statistic} of {check.site}: p {check.p_value:.2f}", fontsize=7)
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
    return figure


def _calibration(figure_class, calibration: dict):
    """The empirical distribution of the worst scalar's ranks less the uniform one, and its band."""
    across = min(MAX_COLUMNS, len(calibration))
    down = -(-len(calibration) // across)
    figure = figure_class(figsize=(3.0 * across, 2.4 * down), layout="constrained")
    for number, (name, found) in enumerate(calibration.items()):
        axes = figure.add_subplot(down, across, number + 1)
        test = found.tests[found.worst]
        axes.fill_between(
            test.fractions, test.lower - test.fractions, test.upper - test.fractions, color="0.85"
        )
        axes.step(test.fractions, test.ecdf - test.fractions, where="mid", color="C0")
        axes.axhline(0.0, color="0.5", linewidth=0.8)
        axes.set_title(f"{name}: {found.worst}, p {test.ecdf_p_value:.3f}", fontsize=8)
        axes.tick_params(labelsize=6)
    return figure
