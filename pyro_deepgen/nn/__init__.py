"""Networks, with no probability in them."""

from .autoregressive_network import AutoregressiveNetwork
from .block import BlockDense, BlockLinear
from .causal_convolution import CausalConv
from .causal_transformer import CausalTransformer
from .convolution import Conv, ConvTranspose
from .dense import Dense
from .diagonal_bilstm import DiagonalBiLSTM
from .flat_inputs import FlatInputs
from .gated import GatedConv, GatedDense
from .gated_pixel_cnn import GatedPixelCNN
from .images import ImageDecoder, ImageEncoder
from .made import MADE
from .masked import MaskedDense, MaskedLinear
from .parameters import ConditionalParameters
from .pixel_cnn import PixelCNN
from .residual import (
    BottleneckBlock,
    GroupNorm,
    SeparableBlock,
    average_pool,
    resize_nearest,
)
from .row_lstm import RowLSTM
from .wavenet import WaveNet

__all__ = [
    "AutoregressiveNetwork",
    "BlockDense",
    "BlockLinear",
    "BottleneckBlock",
    "CausalConv",
    "CausalTransformer",
    "ConditionalParameters",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DiagonalBiLSTM",
    "FlatInputs",
    "GatedConv",
    "GatedDense",
    "GatedPixelCNN",
    "GroupNorm",
    "ImageDecoder",
    "ImageEncoder",
    "MADE",
    "MaskedDense",
    "MaskedLinear",
    "PixelCNN",
    "RowLSTM",
    "SeparableBlock",
    "WaveNet",
    "average_pool",
    "resize_nearest",
]
