"""Videos, a floor for their likelihood, and pictures, that the examples of both hosts share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

__all__ = ["Videos", "bits_per_dim", "independent_bits", "load_videos", "save_rows"]


@dataclass(frozen=True)
class Videos:
    """Grey videos of whole numbers.

    Attributes:
        train: training videos, ``(N, time, height, width)``.
        valid: validation videos.
        labels: one-hot classes of both, ``(N, 10)``, or None.
        num_levels: number of levels, 2 for bits.
    """

    train: np.ndarray
    valid: np.ndarray
    labels: tuple[np.ndarray, np.ndarray] | None
    num_levels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """``(time, height, width)``."""
        return self.train.shape[1:]


def load_videos(path, num_videos: int, num_frames: int, side: int, seed: int = 0) -> Videos:
    """Read videos, or let scikit-learn's digits move.

    Args:
        path: ``.npz`` file with arrays of whole numbers ``train`` and ``valid``, of shape ``(N,
            time, height, width)``, or with one such array, of which a fifth is put aside; None for
            digits, cut at half of their grey levels, of which a fifth moves in validation videos
            alone.
        num_videos: number of videos of digits for training; validation has a fifth of it.
        num_frames: frames of a video of digits.
        side: height and width of their frames, at least 8.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    if path is None:
        digits = load_digits()
        order, parts, labels = rng.permutation(len(digits.images)), {}, []
        cut = len(order) // 5
        for name, rows, count in (
            ("train", order[cut:], num_videos),
            ("valid", order[:cut], num_videos // 5),
        ):
            rows = rng.choice(rows, count)
            bits = (digits.images[rows] > 7.5).astype(np.float32)
            parts[name] = _moving(bits, num_frames, side, rng)
            labels.append(np.eye(10, dtype=np.float32)[digits.target[rows]])
        return Videos(**parts, labels=tuple(labels), num_levels=2)
    with np.load(path) as file:
        parts = {name: file[name] for name in file.files}
    if not {"train", "valid"} <= set(parts):
        (videos,) = parts.values()
        videos, cut = rng.permutation(videos), len(videos) // 5
        parts = {"train": videos[cut:], "valid": videos[:cut]}
    train, valid = (parts[name].astype(np.float32) for name in ("train", "valid"))
    levels = 2 if train.max() == 1 else 17 if train.max() <= 16 else 256
    return Videos(train, valid, None, levels)


def _moving(images: np.ndarray, num_frames: int, side: int, rng) -> np.ndarray:
    """Images that move in a straight line and bounce off the edges of their frames."""
    count, room = len(images), side - images.shape[-1]
    starts = rng.integers(0, room + 1, (count, 2))
    steps = rng.integers(-2, 3, (count, 2))
    found = np.zeros((count, num_frames, side, side), images.dtype)
    for frame in range(num_frames):
        # a way there and back, folded
        ways = (starts + frame * steps) % max(2 * room, 1)
        tops, lefts = np.minimum(ways, 2 * room - ways).T
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            height, width = images.shape[1:]
            found[i, frame, top : top + height, left : left + width] = images[i]
    return found


def bits_per_dim(nats: np.ndarray | float, shape: tuple[int, ...]) -> float:
    """Mean negative log-likelihoods of videos, in bits for each pixel."""
    return float(np.mean(nats)) / np.log(2) / int(np.prod(shape))


def independent_bits(videos: Videos) -> float:
    """Bits per dimension of validation videos if pixels were independent.

    Each pixel of each frame has its own frequencies of levels, counts plus one half.
    """
    total = np.zeros(videos.shape)
    levels = [(videos.train == level).sum(0) + 0.5 for level in range(videos.num_levels)]
    size = len(videos.train) + 0.5 * videos.num_levels
    for level, counts in enumerate(levels):
        total -= (videos.valid == level).mean(0) * np.log(counts / size)
    return bits_per_dim(total.sum(), videos.shape)


def save_rows(path: Path, rows: np.ndarray, num_levels: int, num_given: int = 0) -> Path:
    """Draw videos, one a row, frame beside frame; a line ends those frames that were given."""
    count, num_frames, height, width = rows.shape
    # a margin of one pixel between frames
    tiles = np.full((count, num_frames, height + 1, width + 1), (num_levels - 1) / 2)
    tiles[:, :, :height, :width] = rows
    tiles = tiles.transpose(0, 2, 1, 3).reshape(count * (height + 1), num_frames * (width + 1))
    figure = Figure(figsize=(num_frames / 2, count / 2 * height / width))
    axes = figure.subplots()
    axes.imshow(tiles, cmap="gray_r", vmin=0, vmax=num_levels - 1)
    if num_given:
        axes.axvline(num_given * (width + 1) - 1, color="tab:red")
    axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    return path
