"""Data, splits and pictures that the density examples of both hosts share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import multivariate_normal
from sklearn import datasets
from sklearn.linear_model import LinearRegression

__all__ = [
    "DATA",
    "Table",
    "central_intervals",
    "conformal_halfwidths",
    "coverage",
    "dequantise",
    "gaussian_log_prob",
    "linear_log_prob",
    "load_columns",
    "load_diabetes",
    "load_regression",
    "load_table",
    "mean_and_error",
    "ranks",
    "save_calibration",
    "save_density",
    "save_images",
    "save_losses",
    "save_pairs",
    "save_ranks",
    "save_weights",
    "split_rows",
]

DATA = ("two_moons", "breast_cancer", "wine", "diabetes", "digits")


@dataclass(frozen=True)
class Table:
    """Rows of a table, split and standardised by the mean and deviation of the training rows."""

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    columns: tuple[str, ...]
    dequantised: tuple[str, ...]

    @property
    def input_dim(self) -> int:
        return self.train.shape[1]

    def bits_per_dim(self, log_prob: float) -> float:
        """Bits per column of the recorded values, where each is a multiple of one unit.

        The log-density of ``value + noise``, noise uniform in [0, 1), bounds the log-probability of
        the value from below (Theis et al. 2016, equation 3); the scale brings it back to the units.
        """
        nats = log_prob - np.log(self.scale).sum()
        return float(-nats / (self.input_dim * np.log(2.0)))


def split_rows(num_rows: int, fractions, seed: int = 0) -> list[np.ndarray]:
    """Return disjoint, seeded sets of rows; the last takes what the fractions leave."""
    order = np.random.default_rng(seed).permutation(num_rows)
    return np.split(order, (np.cumsum(fractions) * num_rows).astype(int))


def dequantise(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Add uniform noise as wide as the recorded resolution to the columns with repeated values.

    A continuous density on values that repeat is unbounded. The noise spans the smallest gap
    between two different values of a column, so no two cells overlap.

    Returns:
        The values, and for each column whether it was changed.
    """
    rng = np.random.default_rng(seed)
    values, changed = np.array(values, dtype=float), np.zeros(values.shape[1], dtype=bool)
    for i, column in enumerate(values.T):
        levels = np.unique(column)
        if len(levels) == len(column):
            continue
        gaps = np.diff(levels)
        gaps = gaps[gaps > 1e-9 * np.ptp(levels)]
        resolution = gaps.min() if len(gaps) else 1.0
        values[:, i] = column + resolution * rng.random(len(column))
        changed[i] = True
    return values, changed


def load_table(data: str, seed: int = 0) -> Table:
    """Load one of ``DATA`` or a ``.npy``, ``.npz`` or ``.csv`` file; split it 60/20/20."""
    values, columns = _read(data)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"data must be a table of finite numbers, got {data}; clean it first.")
    values, changed = dequantise(values, seed)
    train, valid, test = (values[rows] for rows in split_rows(len(values), (0.6, 0.2), seed))
    loc, scale = train.mean(0), train.std(0)
    train, valid, test = (
        ((part - loc) / scale).astype(np.float32) for part in (train, valid, test)
    )
    dequantised = tuple(name for name, flag in zip(columns, changed, strict=True) if flag)
    return Table(Path(data).stem, train, valid, test, loc, scale, columns, dequantised)


def load_regression(seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Covariates and target of the diabetes data: rows to train, stop, calibrate and test."""
    x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    y, _ = dequantise(y[:, None], seed)
    parts = ("train", "stop", "calibrate", "test")
    rows = dict(zip(parts, split_rows(len(x), (0.48, 0.12, 0.2), seed), strict=True))
    moments = [(a[rows["train"]].mean(0), a[rows["train"]].std(0)) for a in (x, y)]
    x, y = (
        ((a - loc) / scale).astype(np.float32)
        for a, (loc, scale) in zip((x, y), moments, strict=True)
    )
    return {part: (x[index], y[index]) for part, index in rows.items()}


def load_diabetes() -> tuple[np.ndarray, np.ndarray]:
    """All rows of the diabetes table: standardised covariates, standardised progression."""
    x, y = datasets.load_diabetes(return_X_y=True)
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    return x.astype(np.float32), y.astype(np.float32)


def load_columns(num_rows: int, num_columns: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Some rows of standardised columns of the wine table, shape ``(num_columns, num_rows)``."""
    data = datasets.load_wine()
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    rows = np.random.default_rng(seed).permutation(len(x))[:num_rows]
    return data.feature_names[:num_columns], x[rows, :num_columns].T.astype(np.float32)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over rows and its standard error."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def gaussian_log_prob(table: Table) -> np.ndarray:
    """Held-out log-density of each row by a normal with the training rows' mean and covariance."""
    covariance = np.cov(table.train.astype(float), rowvar=False, ddof=0)
    return multivariate_normal(table.train.mean(0), covariance).logpdf(table.test)


def linear_log_prob(parts) -> np.ndarray:
    """Held-out log-density of each row by linear regression with normal noise."""
    (x, y), (x_test, y_test) = parts["train"], parts["test"]
    regression = LinearRegression().fit(x, y)
    scale = np.sqrt(np.mean((y - regression.predict(x)) ** 2))
    z = (y_test - regression.predict(x_test))[:, 0] / scale
    return -0.5 * z**2 - np.log(scale) - 0.5 * np.log(2.0 * np.pi)


def ranks(samples: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many of its row's samples lie below each target, 0 to ``num_samples``."""
    return (samples < y).sum(0)


def conformal_halfwidths(calibration_ranks: np.ndarray, num_samples: int, levels) -> list[int]:
    """The score, twice the distance of the rank from the middle, that each level needs.

    The ``ceil(level * (n + 1))``-th smallest score; where there are too few rows, a score that
    makes the interval the whole line.
    """
    scores = np.sort(np.abs(2 * calibration_ranks - num_samples))
    orders = [int(np.ceil(level * (len(scores) + 1))) for level in levels]
    return [int(scores[k - 1]) if k <= len(scores) else num_samples for k in orders]


def central_intervals(samples: np.ndarray, halfwidths) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ends of ``{y : abs(2 * rank(y) - num_samples) <= halfwidth}``, for each half-width."""
    num_samples = len(samples)
    infinite = np.full((1, samples.shape[1]), np.inf)
    edges = np.concatenate([-infinite, np.sort(samples, axis=0), infinite])
    lows = [int(np.ceil((num_samples - width) / 2)) for width in halfwidths]
    return [(edges[low], edges[num_samples + 1 - low]) for low in lows]


def coverage(intervals, y: np.ndarray) -> list[tuple[float, float]]:
    """The share of targets inside each interval, and its binomial standard error."""
    shares = [float(np.mean((low < y) & (y <= high))) for low, high in intervals]
    return [(share, float(np.sqrt(share * (1.0 - share) / len(y)))) for share in shares]


def _read(data: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if data == "two_moons":
        return datasets.make_moons(5000, noise=0.05, random_state=0)[0], ("x", "y")
    if data in DATA:
        options = {"scaled": False} if data == "diabetes" else {}
        bunch = getattr(datasets, f"load_{data}")(**options)
        return bunch.data, tuple(map(str, bunch.feature_names))
    suffix = Path(data).suffix
    if suffix == ".csv":
        names = Path(data).read_text().splitlines()[0].split(",")
        return np.loadtxt(data, delimiter=",", skiprows=1, ndmin=2), tuple(names)
    if suffix not in (".npy", ".npz"):
        raise ValueError(
            f"data must be one of {', '.join(DATA)} or a .npy, .npz or .csv file, got {data!r}; "
            "convert it."
        )
    loaded = np.load(data)
    values = loaded if suffix == ".npy" else loaded[loaded.files[0]]
    return values, tuple(f"column {i}" for i in range(values.shape[-1]))


def save_density(path: Path, grid: np.ndarray, log_prob: np.ndarray, rows: np.ndarray) -> Path:
    """Heat map of a density of two columns on a square grid, beside the data."""
    num = int(round(np.sqrt(len(grid))))
    extent = [grid[0, 0], grid[-1, 0], grid[0, 1], grid[-1, 1]]
    figure = Figure(figsize=(9, 4.5))
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    image = np.exp(log_prob).reshape(num, num).T
    left.imshow(image, origin="lower", extent=extent, aspect="auto", cmap="viridis")
    left.set_title("density")
    right.plot(*rows.T, ".", markersize=1)
    right.set_title("held-out data")
    return _save(figure, path)


def save_pairs(path: Path, rows: np.ndarray, samples: np.ndarray, columns) -> Path:
    """Scatter of data and samples for pairs of the first columns, marginals on the diagonal."""
    num = min(4, rows.shape[1])
    figure = Figure(figsize=(2.4 * num, 2.4 * num))
    axes = figure.subplots(num, num, squeeze=False)
    low, high = np.quantile(rows, [0.0, 1.0], axis=0)
    margin = 0.15 * (high - low)
    low, high = low - margin, high + margin
    for i in range(num):
        axes[i, 0].set_ylabel(columns[i])
        axes[-1, i].set_xlabel(columns[i])
        for j in range(num):
            for values, label in ((rows, "data"), (samples, "samples")):
                if i == j:
                    bins = np.linspace(low[i], high[i], 30)
                    axes[i, i].hist(values[:, i], bins, density=True, alpha=0.5, label=label)
                else:
                    axes[i, j].plot(values[:, j], values[:, i], ".", markersize=1.5, alpha=0.6)
                    axes[i, j].set(xlim=(low[j], high[j]), ylim=(low[i], high[i]))
    axes[0, 0].legend()
    return _save(figure, path)


def save_images(path: Path, rows: np.ndarray, samples: np.ndarray) -> Path:
    """Square images: the data on the left, samples on the right."""
    side = int(round(np.sqrt(rows.shape[1])))
    figure = Figure(figsize=(9, 4.5))
    pairs = ((rows, "data"), (samples, "samples"))
    for axes, (images, title) in zip(figure.subplots(1, 2), pairs, strict=True):
        grid = np.pad(images[:64].reshape(8, 8, side, side), 2 * ((0, 0),) + 2 * ((1, 1),))
        mosaic = grid.swapaxes(1, 2).reshape(2 * (8 * (side + 2),))
        axes.imshow(mosaic, cmap="gray_r", vmin=0, vmax=17)
        axes.set_title(title)
        axes.axis("off")
    return _save(figure, path)


def save_losses(path: Path, losses: np.ndarray, evaluations, best_step: int) -> Path:
    """Negative log-likelihood a row: minibatches, and pairs of a step and that of other rows."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.plot(np.arange(1, len(losses) + 1), losses, linewidth=0.5, label="training, minibatch")
    steps, values = zip(*evaluations, strict=True)
    axes.plot(steps, values, label="validation")
    axes.axvline(best_step, color="gray", linestyle="--", label="restored")
    low = min(np.min(losses), np.min(values))
    axes.set_ylim(low - 0.5, np.quantile(losses, 0.98) + 0.5)
    axes.set(xlabel="step", ylabel="nats a row")
    axes.legend()
    return _save(figure, path)


def save_calibration(path: Path, pit: np.ndarray, intervals, y: np.ndarray, levels) -> Path:
    """Histogram of the probability integral transform, and the intervals of every row."""
    figure = Figure(figsize=(10, 4))
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    left.hist(pit, np.linspace(0, 1, 11), density=True)
    left.axhline(1.0, color="gray", linestyle="--")
    left.set(xlabel="probability integral transform", title="held-out rows")
    centre = np.mean([np.clip(end, -9, 9) for end in intervals[0]], axis=0)
    order, x = np.argsort(centre), np.arange(len(y))
    for (low, high), level in zip(intervals, levels, strict=True):
        bounds = (np.clip(end, -9, 9)[order] for end in (low, high))
        right.fill_between(x, *bounds, color="C0", alpha=0.2, label=f"{level:.0%}")
    right.plot(x, y[order], "k.", markersize=4)
    right.set(xlabel="row, by its median", ylabel="target", title="calibrated intervals")
    right.legend(loc="upper left")
    return _save(figure, path)


def save_weights(path: Path, residuals: np.ndarray, quantiles: np.ndarray) -> Path:
    """Median and 90 % interval of the weight of each row, over its residual."""
    figure = Figure(figsize=(6.0, 4.0))
    axes = figure.subplots()
    low, middle, high = quantiles
    axes.vlines(residuals, low, high, color="tab:blue", alpha=0.2)
    axes.plot(residuals, middle, ".", color="tab:blue", markersize=3)
    axes.set(xlabel="residual, in scales", ylabel="weight", yscale="log")
    return _save(figure, path)


def save_ranks(path: Path, results: dict) -> Path:
    """Histogram of the ranks of each quantity, and their distribution functions with the bands."""
    figure = Figure(figsize=(3.0 * len(results), 5.0))
    axes = figure.subplots(2, len(results), squeeze=False)
    for column, (name, found) in zip(axes.T, results.items(), strict=True):
        column[0].bar(range(len(found.counts)), found.counts, width=1.0, alpha=0.6)
        column[0].plot(range(len(found.counts)), found.expected, color="black")
        column[0].set(title=name, xlabel="bin of the rank")
        z = found.fractions
        column[1].fill_between(z, found.lower - z, found.upper - z, color="lightgray")
        column[1].plot(z, found.ecdf - z)
        column[1].set(xlabel="rank / draws", ylabel="distribution function - uniform")
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return path
