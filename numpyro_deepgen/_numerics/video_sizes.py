"""Sizes of the parts of an auto-encoder of videos."""

from collections.abc import Sequence
from dataclasses import dataclass

from .checks import check_dims, check_positive_int
from .convolution import per_dimension

__all__ = ["VideoSizes", "make_video_sizes"]

Sides = tuple[int, int, int]


@dataclass(frozen=True)
class VideoSizes:
    """What encoder and decoder have in common.

    Attributes:
        video_shape: ``(channels, time, height, width)`` of a video.
        channels: channels of the features.
        code_dim: size of the vector of a code.
        sides: time, height and width of each scale, the video's first, that of the codes last.
        strides: of the convolutions from each scale to the next.
        num_blocks: residual blocks of encoder and decoder each.
        num_heads: heads of the axial attention behind each block, 0 for none.
        context_dim: size of the context, 0 for none.
        input_range: lowest and highest entry of the data, or None.
    """

    video_shape: tuple[int, ...]
    channels: int
    code_dim: int
    sides: tuple[Sides, ...]
    strides: tuple[Sides, ...]
    num_blocks: int
    num_heads: int
    context_dim: int
    input_range: tuple | None

    @property
    def code_shape(self) -> Sides:
        """Time, height and width of the codes."""
        return self.sides[-1]


def make_video_sizes(
    video_shape: Sequence[int],
    channels: int,
    code_dim: int,
    halvings: int | Sequence[int],
    num_blocks: int,
    num_heads: int,
    context_dim: int,
    input_range: tuple | None,
) -> VideoSizes:
    """Check the settings.

    Raises:
        ValueError: if one is out of range.
    """
    video_shape = check_dims("video_shape", video_shape)
    if len(video_shape) != 4:
        raise ValueError(
            f"video_shape must be (channels, time, height, width), got {video_shape}; add a "
            "dimension of one channel."
        )
    halvings, sides, strides = per_dimension("halvings", halvings, 3, 0), [video_shape[1:]], []
    for i in range(max(halvings)):
        strides.append(tuple(2 if count > i else 1 for count in halvings))
        pairs = zip(sides[-1], strides[-1], strict=True)
        sides.append(tuple(-(-side // stride) for side, stride in pairs))
    return VideoSizes(
        video_shape,
        check_positive_int("channels", channels),
        check_positive_int("code_dim", code_dim),
        tuple(sides),
        tuple(strides),
        check_positive_int("num_blocks", num_blocks, minimum=0),
        check_positive_int("num_heads", num_heads, minimum=0),
        check_positive_int("context_dim", context_dim, minimum=0),
        input_range,
    )
