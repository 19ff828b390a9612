"""Scales from unconstrained numbers."""

import torch
from torch import Tensor

from .._numerics.checks import check_positive
from .linear import bounded_exp

__all__ = ["bounded_scale", "check_scale_range"]


def bounded_scale(raw: Tensor, min_scale: float = 0.0, max_scale: float | None = None) -> Tensor:
    r"""Return scales within limits.

    They are :math:`s_0 + e^{30 \tanh(a / 30)}`, or :math:`s_0 + (s_1 - s_0)\, \sigma(a)` with an
    upper limit.

    Args:
        raw: any real numbers :math:`a`, any shape.
        min_scale: lower limit :math:`s_0`.
        max_scale: upper limit :math:`s_1`, or None.
    """
    if max_scale is None:
        return min_scale + bounded_exp(raw)[0]
    return min_scale + (max_scale - min_scale) * torch.sigmoid(raw)


def check_scale_range(min_scale: float, max_scale: float | None = None) -> None:
    """Raise unless the limits of a scale are a range of positive numbers."""
    if min_scale != 0.0:
        check_positive("min_scale", min_scale)
    if max_scale is not None:
        check_positive("max_scale - min_scale", max_scale - min_scale)
