"""Divergences of sites in closed form, and where they are valid."""

from jax import Array
from numpyro.distributions import kl_divergence

from .sites import TracePair

__all__ = ["check_order", "closed_divergence"]


def closed_divergence(pair: TracePair, name: str) -> Array | None:
    """The divergence of a site's guide from its model at the draws before, or None without one."""
    try:
        return kl_divergence(pair.guide[name].fn, pair.model[name].fn)
    except NotImplementedError:
        return None


def check_order(pair: TracePair) -> None:
    """Raise unless model and guide draw their latent sites in one order.

    What a site depends on in the model must not depend on the site in the guide, else the closed
    form at the draws is no divergence.
    """
    model = [name for name, site in pair.model.items() if not site.observed]
    guide = [name for name in pair.guide if name in model]
    if model != guide:
        raise ValueError(
            f"model and guide must draw sites in one order for analytic=True, got {model} and "
            f"{guide}; pass analytic=False."
        )
