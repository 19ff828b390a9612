"""Networks, with no probability in them."""

from .block import BlockDense, BlockLinear
from .dense import Dense
from .masked import MaskedDense, MaskedLinear
from .parameters import ConditionalParameters

__all__ = [
    "BlockDense",
    "BlockLinear",
    "ConditionalParameters",
    "Dense",
    "MaskedDense",
    "MaskedLinear",
]
