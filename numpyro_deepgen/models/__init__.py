"""Model-guide pairs: latent-variable models with the guides that are trained with them."""

from .base import ModelGuidePair
from .bayesian_gaussian_mixture import BayesianGaussianMixture
from .bidirectional import BidirectionalVAE
from .deep_images import NVAE, VeryDeepVAE
from .ladder import LadderVAE
from .pixel_vae import PixelVAE, pixel_vae
from .recipes import delta_vae, stacked_vae, vae
from .semi_amortized import SemiAmortized
from .stacked_autoencoder import StackedAutoencoder
from .variational_autoencoder import VariationalAutoencoder
from .vector_quantized import VQVAE, VQVAE2
from .video_vector_quantized import VideoVQVAE

__all__ = [
    "BayesianGaussianMixture",
    "BidirectionalVAE",
    "LadderVAE",
    "ModelGuidePair",
    "NVAE",
    "PixelVAE",
    "SemiAmortized",
    "StackedAutoencoder",
    "VQVAE",
    "VQVAE2",
    "VariationalAutoencoder",
    "VeryDeepVAE",
    "VideoVQVAE",
    "delta_vae",
    "pixel_vae",
    "stacked_vae",
    "vae",
]
