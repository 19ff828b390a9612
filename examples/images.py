"""Images and pictures that the examples of auto-encoders of both hosts share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

__all__ = ["Images", "Likelihood", "combine", "load_images", "save_curve", "save_pictures"]


@dataclass(frozen=True)
class Images:
    """Grey images as rows of whole numbers.

    Attributes:
        train: training rows, ``(N, height * width)``.
        valid: validation rows.
        sides: ``(height, width)`` of an image.
        num_levels: number of levels, 2 for bits.
    """

    train: np.ndarray
    valid: np.ndarray
    sides: tuple[int, int]
    num_levels: int

    def shaped(self, rows: np.ndarray, with_channel: bool) -> np.ndarray:
        """Rows as they are, or as images of one channel."""
        return rows.reshape(-1, 1, *self.sides) if with_channel else rows


def load_images(path: str | None = None, seed: int = 0) -> Images:
    """Read images.

    Args:
        path: ``.npz`` file with arrays of whole numbers ``train`` and ``valid``, of shape ``(N,
            height, width)``, ``(N, side * side)``, or of bits packed by ``numpy.packbits`` along
            the rows; or with one array of images, of which a fifth is put aside; None for
            scikit-learn's digits, cut at half of their grey levels.
        seed: of the choice of the validation images where the file makes none.
    """
    if path is None:
        parts = {"digits": (load_digits().images > 7.5).astype(np.uint8)}
    else:
        with np.load(path) as file:
            parts = {name: file[name] for name in file.files}
    if not {"train", "valid"} <= set(parts):
        (images,) = parts.values()
        images, count = np.random.default_rng(seed).permutation(images), len(images) // 5
        parts = {"train": images[count:], "valid": images[:count]}
    packed = parts["train"].ndim == 2 and parts["train"].max() > 1
    train, valid = (
        _unpacked(parts[name]) if packed else parts[name] for name in ("train", "valid")
    )
    side = round(train[0].size ** 0.5)
    sides = train.shape[1:] if train.ndim == 3 else (side, side)
    levels = 2 if train.max() == 1 else 17 if train.max() <= 16 else 256
    rows = (part.reshape(len(part), -1).astype(np.float32) for part in (train, valid))
    return Images(*rows, sides, levels)


def _unpacked(rows: np.ndarray) -> np.ndarray:
    side = int((8 * rows.shape[1]) ** 0.5)
    return np.unpackbits(rows, axis=1, count=side * side)


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
        dims: number of entries of an image.
    """

    bound: float
    bound_error: float
    value: float
    error: float
    plain: float
    plain_error: float
    num_images: int
    dims: int

    def __str__(self) -> str:
        bits = self.value / np.log(2) / self.dims
        return (
            f"negative log-likelihood {self.value:.2f} +- {self.error:.2f} nats, "
            f"{bits:.3f} bits per dimension, bound "
            f"{self.bound:.2f} (over images +- {self.bound_error:.2f}); of {self.num_images} "
            f"images alone {self.plain:.2f} +- {self.plain_error:.2f}"
        )


def combine(
    bounds: np.ndarray, log_evidence: np.ndarray, elbo: np.ndarray, dims: int
) -> Likelihood:
    """The likelihood from the bounds of all images and from some images with many samples.

    Args:
        bounds: evidence lower bound of every image.
        log_evidence: log evidence of the first images.
        elbo: evidence lower bound of these, from the same samples.
        dims: number of entries of an image.
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
        dims=dims,
    )


def save_curve(path: Path, train: np.ndarray, valid: list[tuple[int, float]]) -> Path:
    """Draw the loss a datum over the steps: its mean a hundredth of training, and on validation."""
    window = max(len(train) // 100, 1)
    means = train[: len(train) // window * window].reshape(-1, window).mean(1)
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.plot(np.arange(1, len(means) + 1) * window, means, label="training")
    axes.plot(*zip(*valid, strict=True), label="validation")
    values = [*means, *(loss for _, loss in valid)]
    low, high = min(values), np.quantile(values, 0.9)
    margin = 0.1 * (high - low) + 0.1
    axes.set(xlabel="step", ylabel="negative bound, nats", ylim=(low - margin, high + margin))
    axes.legend()
    return _save(figure, path)


def save_pictures(folder: Path, pictures: dict[str, np.ndarray], images: Images) -> list[Path]:
    """Draw each array of rows and columns of images as one picture of its name."""
    return [_save_grid(folder / f"{name}.png", grid, images) for name, grid in pictures.items()]


def _save_grid(path: Path, grid: np.ndarray, images: Images) -> Path:
    (rows, columns), (height, width) = grid.shape[:2], images.sides
    tiles = grid.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    figure = Figure(figsize=(columns / 2, rows / 2 * height / width))
    axes = figure.subplots()
    colors = "gray_r" if images.num_levels < 256 else "gray"
    tiles = tiles.reshape(rows * height, columns * width)
    axes.imshow(tiles, cmap=colors, vmin=0, vmax=images.num_levels - 1)
    axes.set_axis_off()
    return _save(figure, path)


def _save(figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    return path
