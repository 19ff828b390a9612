"""Checks of a latent site whose posteriors are compared over data."""

import numpy as np

from ..elbo.sites import TracePair

__all__ = ["check_latent", "check_same_posterior"]


def check_latent(name: str, pair: TracePair) -> None:
    """Raise unless the name is that of a latent site of one data plate in the last dimension."""
    latent = [site.name for site in pair.model.values() if not site.observed]
    if name not in latent:
        raise ValueError(f"site must be a latent site of the model, got {name!r}; one of {latent}.")
    plates = pair.guide[name].plates
    if len(plates) != 1 or plates[0].dim != -1 or plates[0].subsample_size < 2:
        found = [(plate.name, plate.subsample_size) for plate in plates]
        raise ValueError(
            f"site {name!r} must lie in one plate of at least 2 data, got {found}; choose one of "
            "each datum."
        )


def check_same_posterior(name: str, one: np.ndarray, other: np.ndarray) -> None:
    """Raise if two runs give different posteriors, log densities of the same values."""
    if not np.allclose(one, other, rtol=1e-4, atol=1e-4):
        raise ValueError(
            f"site {name!r} must have a posterior that depends on data alone, got one that depends "
            "on other draws; choose the site that the guide draws first."
        )
