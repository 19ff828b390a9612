"""Networks, with no probability in them."""

from .autoregressive_network import AutoregressiveNetwork
from .block import BlockDense, BlockLinear
from .block_local_attention import BlockLocalAttention
from .causal_convolution import CausalConv
from .causal_transformer import CausalTransformer
from .codebook import Codebook
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
from .pixel_cnn_plus_plus import PixelCNNPlusPlus
from .residual import (
    BottleneckBlock,
    GroupNorm,
    SeparableBlock,
    average_pool,
    resize_nearest,
)
from .row_lstm import RowLSTM
from .video_transformer import VideoTransformer
from .wavenet import WaveNet

__all__ = [
    "AutoregressiveNetwork",
    "BlockDense",
    "BlockLinear",
    "BlockLocalAttention",
    "BottleneckBlock",
    "CausalConv",
    "CausalTransformer",
    "Codebook",
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
    "PixelCNNPlusPlus",
    "RowLSTM",
    "SeparableBlock",
    "VideoTransformer",
    "WaveNet",
    "average_pool",
    "resize_nearest",
]
