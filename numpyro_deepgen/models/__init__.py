"""Model-guide pairs: latent-variable models with the guides that are trained with them."""

from .base import ModelGuidePair
from .bayesian_gaussian_mixture import BayesianGaussianMixture
from .recipes import delta_vae, stacked_vae, vae
from .semi_amortized import SemiAmortized
from .stacked_autoencoder import StackedAutoencoder
from .variational_autoencoder import VariationalAutoencoder

__all__ = [
    "BayesianGaussianMixture",
    "ModelGuidePair",
    "SemiAmortized",
    "StackedAutoencoder",
    "VariationalAutoencoder",
    "delta_vae",
    "stacked_vae",
    "vae",
]
