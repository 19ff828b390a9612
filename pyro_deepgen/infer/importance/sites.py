"""Which pairs of a model and a guide have importance weights."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SiteKind", "check_plates", "check_sites"]


@dataclass(frozen=True)
class SiteKind:
    """What matters of a latent site.

    Attributes:
        discrete: whether it could be enumerated.
        enumerated: whether it asks for enumeration.
        auxiliary: whether it is auxiliary to others.
        random: whether it is drawn, not a function of other draws.
    """

    discrete: bool
    enumerated: bool
    auxiliary: bool
    random: bool


def check_sites(model: dict[str, SiteKind], guide: dict[str, SiteKind]) -> None:
    """Raise unless the guide draws every latent site of the model and nothing besides.

    Args:
        model: latent sites of the model by name.
        guide: sites of the guide by name.

    Raises:
        ValueError: if a site is missing, too much, or enumerated, or nothing is random.
    """
    enumerated = [name for name, site in guide.items() if site.enumerated]
    missing = [name for name in model if name not in guide]
    enumerated += [name for name in missing if model[name].discrete]
    if enumerated:
        raise ValueError(
            f"model must have no enumerated latent sites, got {enumerated}; sum them out inside "
            "the model, or draw them in the guide."
        )
    if missing:
        raise ValueError(
            f"guide must draw every latent site of the model, got none for {missing}; add them to "
            "the guide."
        )
    besides = [name for name, site in guide.items() if name not in model and not site.auxiliary]
    if besides:
        raise ValueError(
            f"guide must draw latent sites of the model only, got {besides} besides; mark what "
            "others are functions of as auxiliary, infer={'is_auxiliary': True}."
        )
    if not any(site.random for site in guide.values()):
        raise ValueError(
            "guide must draw at random, got point estimates only; use a guide that is a "
            "distribution."
        )


def check_plates(plates: Sequence[tuple[str, int, int]]) -> None:
    """Raise if one of the plates, each a name, a size and a subsample size, is subsampled."""
    for name, size, subsample_size in plates:
        if size != subsample_size:
            raise ValueError(
                f"model and guide must have no subsampled plates, got {name!r} with "
                f"{subsample_size} of {size}; weights of a minibatch are not those of the joint "
                "density, so pass all data."
            )
