"""Model-guide pairs: latent-variable models with the guides that are trained with them."""

from .base import ModelGuidePair
from .bayesian_gaussian_mixture import BayesianGaussianMixture
from .bidirectional import BidirectionalVAE
from .deep_images import NVAE, VeryDeepVAE
from .ladder import LadderVAE
from .recipes import delta_vae, stacked_vae, vae
from .semi_amortized import SemiAmortized
from .stacked_autoencoder import StackedAutoencoder
from .variational_autoencoder import VariationalAutoencoder
from .vector_quantized import VQVAE, VQVAE2

__all__ = [
    "BayesianGaussianMixture",
    "BidirectionalVAE",
    "LadderVAE",
    "ModelGuidePair",
    "NVAE",
    "SemiAmortized",
    "StackedAutoencoder",
    "VQVAE",
    "VQVAE2",
    "VariationalAutoencoder",
    "VeryDeepVAE",
    "delta_vae",
    "stacked_vae",
    "vae",
]
