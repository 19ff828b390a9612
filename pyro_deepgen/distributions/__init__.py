"""Distributions that are networks, and the flows' recipes."""

from .._numerics.orders import (
    random_order,
    raster_order,
    reverse_order,
    snake_order,
    subscale_order,
)
from .amortized_autoregressive import AmortizedAutoregressive
from .amortized_flow import AmortizedFlow
from .autoregressive import Autoregressive, AutoregressiveDistribution, GivenSample
from .autoregressive_normal import AutoregressiveNormal
from .autoregressive_transform import AutoregressiveTransform
from .bases import FullNormal, MixtureOfNormals, StandardNormal, StudentT
from .conditional_distribution import ConditionalDistribution
from .discretized import DiscretizedLogistic, DiscretizedLogisticMixture
from .fixed_mixture import FixedMixture
from .flow import Flow, FlowDistribution
from .mixture_flow import MixtureFlow, MixtureFlowDistribution
from .recipes import flowpp, iaf, maf, nice, nsf, realnvp
from .recipes_autoregressive import gated_pixel_cnn, image_gpt, made, pixel_cnn, wavenet
from .recipes_low_rank import planar, radial, sylvester
from .recipes_multiscale import pixel_cnn_plus_plus
from .recipes_numerical import bnaf, gaussianization, naf, sospf, unaf
from .recipes_recurrent import diagonal_bilstm, row_lstm
from .recipes_video import video_transformer
from .residual_normal import ResidualNormal
from .vamp_prior import VampPrior
from .vector_quantized import CodebookPrior, VectorQuantized

__all__ = [
    "AmortizedAutoregressive",
    "AmortizedFlow",
    "Autoregressive",
    "AutoregressiveDistribution",
    "AutoregressiveNormal",
    "AutoregressiveTransform",
    "CodebookPrior",
    "ConditionalDistribution",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "FixedMixture",
    "Flow",
    "FlowDistribution",
    "FullNormal",
    "GivenSample",
    "MixtureFlow",
    "MixtureFlowDistribution",
    "MixtureOfNormals",
    "ResidualNormal",
    "StandardNormal",
    "StudentT",
    "VampPrior",
    "VectorQuantized",
    "bnaf",
    "diagonal_bilstm",
    "flowpp",
    "gated_pixel_cnn",
    "gaussianization",
    "iaf",
    "image_gpt",
    "made",
    "maf",
    "naf",
    "nice",
    "nsf",
    "pixel_cnn",
    "pixel_cnn_plus_plus",
    "planar",
    "radial",
    "random_order",
    "raster_order",
    "realnvp",
    "reverse_order",
    "row_lstm",
    "snake_order",
    "sospf",
    "subscale_order",
    "sylvester",
    "unaf",
    "video_transformer",
    "wavenet",
]
