"""PNG files of a comparison: marginals overlaid, pairs of scalars, ELBO traces, and checks.

Figures are built as objects, so neither matplotlib's backend nor its settings are touched.
"""

from pathlib import Path

import numpy as np

from .check_plots import check_figures
from .errors import CompareError
from .export import write_atomically
from .scalars import scalars
from .verdict import Rules

__all__ = ["interesting_scalars", "save_plots"]

MAX_MARGINALS = 12
MAX_PAIRS = 3
MAX_POINTS = 800


def save_plots(comparison, directory: Path) -> list[Path]:
    """Draw what there is to draw and write it.

    Args:
        comparison: a :class:`~.comparison.Comparison` with at least one finished method.
        directory: where the PNG files go.

    Returns:
        The paths written: ``marginals.png``, ``pairs.png``, ``elbo.png``, ``predictive.png``,
        ``calibration.png``.

    Raises:
        CompareError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CompareError("plots need matplotlib: pip install matplotlib") from error
    columns = _columns(comparison)
    if not columns:
        return []
    names = interesting_scalars(columns, comparison)
    figures = {"marginals.png": _marginals(Figure, columns, names[:MAX_MARGINALS])}
    if len(names) > 1:
        figures["pairs.png"] = _pairs(Figure, columns, names[: MAX_PAIRS + 1])
    traces = [result for result in comparison.results if result.losses is not None]
    if traces:
        figures["elbo.png"] = _elbo(Figure, traces)
    figures |= check_figures(Figure, comparison)
    return [
        write_atomically(
            directory / name, lambda path, figure=figure: figure.savefig(path, dpi=110)
        )
        for name, figure in figures.items()
    ]


def _columns(comparison) -> dict[str, dict]:
    """Label -> scalars, the reference first."""
    sites = comparison.model.latent_shapes
    out = {}
    reference = comparison.reference
    if reference is not None and reference.method is None:
        out["reference"] = scalars(reference.draws, sites)
    for result in comparison.results:
        if result.error is None:
            out[result.name] = scalars(result.draws, sites)
    return {label: columns for label, columns in out.items() if columns}


def interesting_scalars(columns: dict, comparison) -> list[str]:
    """Scalar names, those on which the methods differ most from the reference first.

    Args:
        columns: label -> scalars; the first label is the yardstick.
        comparison: its metrics name the worst scalars, which come first of all.
    """
    base = next(iter(columns.values()))
    worst = {}
    for result in comparison.results:
        for moment, limit in Rules.max_error.items():
            metric = result.metrics.get(f"{moment}_excess")
            if metric is not None and metric.value:
                share = metric.value / limit
                worst[metric.where] = max(worst.get(metric.where, 0.0), share)
    spread = {}
    for name, column in base.items():
        low, mid, high = np.quantile(column, (0.05, 0.5, 0.95))
        unit = max(high - low, np.finfo(np.float64).tiny)
        others = [other[name] for other in columns.values() if name in other]
        spread[name] = max(float(abs(np.median(other) - mid) / unit) for other in others)
    ordered = sorted(spread, key=spread.get, reverse=True)
    first = [name for name in sorted(worst, key=worst.get, reverse=True) if name in base]
    return list(dict.fromkeys(first + ordered))


def _range(columns: dict, name: str) -> tuple[float, float]:
    """A window that holds most draws of every method, whatever their tails."""
    bounds = [np.quantile(c[name], (0.005, 0.995)) for c in columns.values() if name in c]
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    base = next(iter(columns.values()))[name]
    left, mid, right = np.quantile(base, (0.05, 0.5, 0.95))
    reach = 3.0 * max(right - left, np.finfo(np.float64).tiny)
    return max(low, mid - reach), min(high, mid + reach)


def _marginals(figure_class, columns: dict, names: list):
    across = min(4, len(names))
    down = -(-len(names) // across)
    figure = figure_class(figsize=(3.2 * across, 2.4 * down), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(down, across, number + 1)
        low, high = _range(columns, name)
        bins = np.linspace(low, high, 50) if high > low else 10
        for label, scalar in columns.items():
            if name in scalar:
                style = {"alpha": 0.25, "histtype": "stepfilled", "color": "black"}
                if label != next(iter(columns)):
                    style = {"histtype": "step"}
                values = scalar[name].reshape(-1)
                axes.hist(values, bins=bins, density=True, label=label, **style)
        axes.set_title(name, fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    figure.axes[0].legend(fontsize=7)
    return figure


def _pairs(figure_class, columns: dict, names: list):
    pairs = [(names[0], other) for other in names[1:]]
    figure = figure_class(figsize=(2.6 * len(columns), 2.6 * len(pairs)), layout="constrained")
    for row, (first, second) in enumerate(pairs):
        for column, (label, scalar) in enumerate(columns.items()):
            axes = figure.add_subplot(len(pairs), len(columns), row * len(columns) + column + 1)
            if first in scalar and second in scalar:
                x, y = scalar[first].reshape(-1), scalar[second].reshape(-1)
                step = max(1, x.size // MAX_POINTS)
                axes.plot(x[::step], y[::step], ".", markersize=2, alpha=0.5)
            axes.set_xlim(*_range(columns, first))
            axes.set_ylim(*_range(columns, second))
            axes.tick_params(labelsize=6)
            axes.set_xlabel(first, fontsize=7)
            axes.set_ylabel(second, fontsize=7)
            if row == 0:
                axes.set_title(label, fontsize=9)
    return figure


def _elbo(figure_class, results: list):
    figure = figure_class(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    tails = []
    for result in results:
        elbo = -np.asarray(result.losses, np.float64)
        window = max(1, elbo.size // 100)
        smooth = np.convolve(elbo, np.ones(window) / window, mode="valid")
        axes.plot(np.arange(smooth.size) + window, smooth, label=result.name, linewidth=1)
        tails.append(smooth[smooth.size // 10 :])
    finite = np.concatenate([tail[np.isfinite(tail)] for tail in tails])
    if finite.size:
        low, high = np.quantile(finite, (0.01, 1.0))
        pad = 0.1 * max(high - low, 1.0)
        axes.set_ylim(low - pad, high + pad)
    axes.set_xlabel("step")
    axes.set_ylabel("ELBO (moving average)")
    axes.legend(fontsize=8)
    return figure
