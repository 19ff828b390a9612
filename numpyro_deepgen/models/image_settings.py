"""Sizes of the groups of latent images of a top-down model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from .._numerics.checks import check_dims, check_positive_int

__all__ = ["ImageLevels", "make_levels"]


@dataclass(frozen=True)
class ImageLevels:
    """What the parts of a model of images have in common.

    Attributes:
        image_shape: ``(channels, height, width)`` of what the encoder is given.
        channels: channels of the features.
        latent_channels: channels of each group.
        hidden_channels: channels inside of bottleneck blocks.
        sizes: height and width of each scale, the image's first.
        scales: scale of each group, the coarsest first.
        context_dim: size of the context, 0 for none.
        input_range: lowest and highest entry of the data, or None.
    """

    image_shape: tuple[int, ...]
    channels: int
    latent_channels: int
    hidden_channels: int
    sizes: tuple[tuple[int, int], ...]
    scales: tuple[int, ...]
    context_dim: int
    input_range: tuple | None

    @property
    def init_scale(self) -> float:
        """Factor of the last starting weights of each block, which keeps their sum in range."""
        return 1.0 / math.sqrt(len(self.scales))

    def kernel_size(self, scale: int, usual: int = 3) -> int:
        """Size of the kernels at a scale: 1 where the image has but one or two pixels a side."""
        return usual if min(self.sizes[scale]) > 2 else 1

    def rescaled(self, x: Array, like: Array) -> Array:
        """Images as numbers in the precision of ``like``, between -1 and 1 of a range."""
        x = jnp.asarray(x, like.dtype)
        if self.input_range is None:
            return x
        low, high = self.input_range
        return (x - low) * (2.0 / (high - low)) - 1.0


def make_levels(
    image_shape: Sequence[int],
    channels: int,
    latent_channels: int,
    groups: Sequence[int],
    hidden_channels: int | None,
    context_dim: int,
    input_range: tuple | None,
) -> ImageLevels:
    """Check the settings of a model of images.

    Raises:
        ValueError: if one is out of range.
    """
    image_shape = check_dims("image_shape", image_shape)
    if len(image_shape) != 3:
        raise ValueError(
            f"image_shape must be (channels, height, width), got {image_shape}; add a dimension of "
            "one channel, or of one row and one column."
        )
    groups = [check_positive_int(f"groups[{i}]", n, 0) for i, n in enumerate(groups)]
    if sum(groups) == 0:
        raise ValueError(
            f"groups must hold a number above 0, got {groups}; pass the number of groups at each "
            "scale, the image's first."
        )
    sizes = [image_shape[1:]]
    for _ in groups[1:]:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    channels = check_positive_int("channels", channels)
    hidden = max(channels // 2, 1) if hidden_channels is None else hidden_channels
    return ImageLevels(
        image_shape,
        channels,
        check_positive_int("latent_channels", latent_channels),
        check_positive_int("hidden_channels", hidden),
        tuple(sizes),
        tuple(i for i in reversed(range(len(groups))) for _ in range(groups[i])),
        check_positive_int("context_dim", context_dim, minimum=0),
        input_range,
    )
