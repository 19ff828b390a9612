"""Networks, with no probability in them."""

from .block import BlockDense, BlockLinear
from .dense import Dense
from .flat_inputs import FlatInputs
from .gated import GatedConv, GatedDense
from .images import ImageDecoder, ImageEncoder
from .masked import MaskedDense, MaskedLinear
from .parameters import ConditionalParameters

__all__ = [
    "BlockDense",
    "BlockLinear",
    "ConditionalParameters",
    "Dense",
    "FlatInputs",
    "GatedConv",
    "GatedDense",
    "ImageDecoder",
    "ImageEncoder",
    "MaskedDense",
    "MaskedLinear",
]
