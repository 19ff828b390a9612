"""Networks, with no probability in them."""

from .dense import Dense
from .masked import MaskedDense, MaskedLinear
from .parameters import ConditionalParameters

__all__ = ["ConditionalParameters", "Dense", "MaskedDense", "MaskedLinear"]
