"""Images and pictures for the examples of auto-encoders, without a host."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

__all__ = ["BinaryImages", "Likelihood", "combine", "load_images", "save_curve", "save_pictures"]


@dataclass(frozen=True)
class BinaryImages:
    """Images of bits as rows of zeros and ones.

    Attributes:
        train: training rows, ``(N, side * side)``.
        valid: validation rows.
        side: height and width of an image.
    """

    train: np.ndarray
    valid: np.ndarray
    side: int


def load_images(path: str | None = None, seed: int = 0) -> BinaryImages:
    """Read images of bits.

    Args:
        path: ``.npz`` file with arrays ``train`` and ``valid`` of shape ``(N, side * side)`` or
            ``(N, side, side)``, or with their bits packed by ``numpy.packbits`` along the rows;
            None for scikit-learn's digits, cut at half of their grey levels.
        seed: of the choice of a fifth of the digits for validation.
    """
    if path is None:
        rows = (load_digits().data > 7.5).astype(np.float32)
        rows = np.random.default_rng(seed).permutation(rows)
        parts = {"train": rows[len(rows) // 5 :], "valid": rows[: len(rows) // 5]}
    else:
        with np.load(path) as file:
            parts = {name: _bits(file[name]) for name in ("train", "valid")}
    side = round(parts["train"].shape[1] ** 0.5)
    return BinaryImages(parts["train"], parts["valid"], side)


def _bits(array: np.ndarray) -> np.ndarray:
    rows = array.reshape(len(array), -1)
    if rows.dtype == np.uint8 and rows.max() > 1:
        side = int((8 * rows.shape[1]) ** 0.5)
        rows = np.unpackbits(rows, axis=1, count=side * side)
    return rows.astype(np.float32)


@dataclass(frozen=True)
class Likelihood:
    """A mean negative log-likelihood of validation images, in nats.

    Attributes:
        bound: mean negative evidence lower bound over all images.
        bound_error: its standard error over images.
        value: the bound less the mean gap of some images, which varies much less over images than
            the likelihood does.
        error: standard error of that difference from the one with all images.
        plain: mean over those images alone.
        plain_error: its standard error over images.
        num_images: number of those images.
    """

    bound: float
    bound_error: float
    value: float
    error: float
    plain: float
    plain_error: float
    num_images: int

    def __str__(self) -> str:
        return (
            f"negative log-likelihood {self.value:.2f} +- {self.error:.2f} nats, bound "
            f"{self.bound:.2f} (over images +- {self.bound_error:.2f}); of {self.num_images} "
            f"images alone {self.plain:.2f} +- {self.plain_error:.2f}"
        )


def combine(bounds: np.ndarray, log_evidence: np.ndarray, elbo: np.ndarray) -> Likelihood:
    """The likelihood from the bounds of all images and from some images with many samples.

    Args:
        bounds: evidence lower bound of every image.
        log_evidence: log evidence of the first images.
        elbo: evidence lower bound of these, from the same samples.
    """
    gap, count = log_evidence - elbo, len(log_evidence)
    rest = 1.0 - count / len(bounds)
    root = np.sqrt(count)
    return Likelihood(
        bound=-bounds.mean(),
        bound_error=bounds.std(ddof=1) / np.sqrt(len(bounds)),
        value=-bounds.mean() - gap.mean(),
        error=gap.std(ddof=1) / root * np.sqrt(rest),
        plain=-log_evidence.mean(),
        plain_error=log_evidence.std(ddof=1) / root,
        num_images=count,
    )


def save_curve(path: Path, train: np.ndarray, valid: list[tuple[int, float]]) -> Path:
    """Draw the loss a datum over the steps: its mean a hundredth of training, and on validation."""
    window = max(len(train) // 100, 1)
    means = train[: len(train) // window * window].reshape(-1, window).mean(1)
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.plot(np.arange(1, len(means) + 1) * window, means, label="training")
    axes.plot(*zip(*valid, strict=True), label="validation")
    low = min(means.min(), min(loss for _, loss in valid))
    axes.set(xlabel="step", ylabel="negative bound, nats", ylim=(low - 2, low + 40))
    axes.legend()
    return _save(figure, path)


def save_pictures(folder: Path, pictures: dict[str, np.ndarray], side: int) -> list[Path]:
    """Draw each array of shape ``(rows, columns, side * side)`` as one picture of its name."""
    return [_save_grid(folder / f"{name}.png", grid, side) for name, grid in pictures.items()]


def _save_grid(path: Path, grid: np.ndarray, side: int) -> Path:
    rows, columns = grid.shape[:2]
    tiles = grid.reshape(rows, columns, side, side).transpose(0, 2, 1, 3)
    figure = Figure(figsize=(columns / 2, rows / 2))
    axes = figure.subplots()
    axes.imshow(tiles.reshape(rows * side, columns * side), cmap="gray_r", vmin=0, vmax=1)
    axes.set_axis_off()
    return _save(figure, path)


def _save(figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    return path
