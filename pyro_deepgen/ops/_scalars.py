"""Numbers as tensors without axes, which cost an eager operation a third of a Python number."""

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["scalars"]


def scalars(like: Tensor, *values: float) -> tuple[Tensor, ...]:
    """Return the values in the dtype and on the device of ``like``."""
    if torch.compiler.is_compiling():
        return tuple(like.new_full((), value) for value in values)
    return _scalars(like.dtype, like.device, values)


@lru_cache(maxsize=256)
def _scalars(
    dtype: torch.dtype, device: torch.device, values: tuple[float, ...]
) -> tuple[Tensor, ...]:
    with torch.inference_mode(False):
        return tuple(torch.tensor(value, dtype=dtype, device=device) for value in values)
