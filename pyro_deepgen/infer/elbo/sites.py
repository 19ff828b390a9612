r"""Over which plates the weights of a pair of traces are separate.

A pair whose sites all lie in a data plate has one weight for each datum,

.. math::
    \log w_n = \sum_{s \in \text{model}} \log p_s(n) - \sum_{s \in \text{guide}} \log q_s(n),

and the scale of a minibatch stays outside: a bound is :math:`\frac NB \sum_n f(w_n)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Plate",
    "Site",
    "TracePair",
    "WeightPlan",
    "check_match",
    "plan_weights",
    "split_at_data",
]


@dataclass(frozen=True)
class Plate:
    """A plate around a site; ``dim`` is None for a plate that is a loop."""

    name: str
    dim: int | None
    size: int
    subsample_size: int

    @property
    def subsampled(self) -> bool:
        """Whether the plate holds a part of its data."""
        return self.size != self.subsample_size


@dataclass(frozen=True)
class Site:
    """A sample site of a trace.

    Attributes:
        name: its name.
        fn: its distribution.
        value: its value.
        log_prob: masked log density without any scale, shape ``batch_shape``.
        plates: the plates around it, without that of the particles.
        scale: product of the scales of plates and handlers.
        observed: whether its value was given.
        auxiliary: whether it is of the guide alone.
    """

    name: str
    fn: Any
    value: Any
    log_prob: Any
    plates: tuple[Plate, ...]
    scale: Any
    observed: bool
    auxiliary: bool


@dataclass(frozen=True)
class TracePair:
    """The sites of a guide, and of a model that was run on its draws, by name."""

    model: dict[str, Site]
    guide: dict[str, Site]

    def __iter__(self):
        return iter([*self.model.values(), *self.guide.values()])


@dataclass(frozen=True)
class WeightPlan:
    """What weights are separate over, and what multiplies their sum.

    Attributes:
        plates: the plates, from the outermost dimension to the innermost; none for a joint weight.
        scale: scale of the minibatch and of handlers.
    """

    plates: tuple[Plate, ...]
    scale: float


def check_match(pair: TracePair) -> None:
    """Raise unless the guide draws every latent site of the model, and the model every other's.

    Raises:
        ValueError: if a site is missing or too much.
    """
    missing = [n for n, s in pair.model.items() if not s.observed and n not in pair.guide]
    if missing:
        raise ValueError(
            f"guide must draw every latent site of the model, got none for {missing}; add them to "
            "the guide."
        )
    besides = [
        name
        for name, site in pair.guide.items()
        if not (site.observed or site.auxiliary or name in pair.model)
    ]
    if besides:
        raise ValueError(
            f"guide must draw latent sites of the model only, got {besides} besides; mark what "
            "others are functions of as auxiliary, infer={'is_auxiliary': True}."
        )


def plan_weights(sites: Sequence[Site], joint: bool) -> WeightPlan:
    """The plates over which the weights of these sites are separate.

    Args:
        sites: sites of model and guide.
        joint: whether one weight for all data is asked for.

    Raises:
        ValueError: if a site lies outside the data plate, another plate is subsampled, or the
            sites have different scales.
    """
    sites = list(sites)
    plates = {plate.name: plate for site in sites for plate in site.plates}
    outside = {
        name: [s for s in sites if all(plate.name != name for plate in s.plates)] for name in plates
    }
    common = {p for p in plates.values() if p.dim is not None and not outside[p.name]}
    if joint:
        common = set()
    elif plates and not common:
        name, others = min(outside.items(), key=lambda item: len(item[1]))
        inside = "a loop" if not others else f"site {others[0].name!r} outside it"
        raise ValueError(
            f"every site must lie in the data plate {name!r} to have a weight for each datum, got "
            f"{inside}; pass joint=True for one weight for all data, or move it into the plate."
        )
    for plate in plates.values():
        if plate.subsampled and plate not in common:
            raise ValueError(
                f"weights must be separate over a subsampled plate, got {plate.name!r} with "
                f"{plate.subsample_size} of {plate.size} inside one weight; pass all data, or put "
                "every site into the plate and leave joint=False."
            )
    return WeightPlan(tuple(sorted(common, key=lambda plate: plate.dim)), _common_scale(sites))


def _common_scale(sites: list[Site]) -> float:
    """The one scale of all sites."""
    scales = {}
    for site in sites:
        try:
            scales[site.name] = 1.0 if site.scale is None else float(site.scale)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"scale of site {site.name!r} must be a number, got {type(site.scale).__name__}; a "
                "weight is not a weight with a scale for each entry."
            ) from None
    low, high = min(scales, key=scales.get), max(scales, key=scales.get)
    if scales[high] - scales[low] > 1e-6 * abs(scales[high]):
        raise ValueError(
            f"all sites must have one scale, which is kept outside the logarithm, got "
            f"{scales[low]:.6g} for {low!r} and {scales[high]:.6g} for {high!r}; scale all sites "
            "alike, or use BetaELBO to weigh the divergence."
        )
    return scales[high] if scales else 1.0


def split_at_data(pair: TracePair) -> tuple[WeightPlan, set[str]]:
    """The data plates, those around everything observed, and the names of the sites inside.

    Raises:
        ValueError: if nothing observed is in a plate, a site of a subsampled plate is outside, or
            a function of sites outside lies inside.
    """
    observed = [site for site in pair.model.values() if site.observed]
    plates = [p for site in observed[:1] for p in site.plates if p.dim is not None]
    plates = [p for p in plates if all(p in site.plates for site in observed)]
    if not plates:
        raise ValueError(
            "observed sites must lie in one data plate, got none around "
            f"{[site.name for site in observed]}; put them into pyro.plate or numpyro.plate."
        )
    inside = {site.name for site in pair if all(plate in site.plates for plate in plates)}
    within = [site for site in pair if site.name in inside]
    auxiliary = [s.name for s in pair.guide.values() if s.auxiliary and s.name not in inside]
    local = [name for name in pair.guide if name in inside and name in pair.model]
    if auxiliary and local:
        raise ValueError(
            f"latent sites in the data plate must be drawn there, got {local} as functions of "
            f"{auxiliary} outside; use a guide with a site for each."
        )
    for site in pair:
        if site.name not in inside and any(plate.subsampled for plate in site.plates):
            raise ValueError(
                f"site {site.name!r} must lie in the whole data plate or outside it, got "
                f"{[plate.name for plate in site.plates]}; move it."
            )
    plan = plan_weights(within, False)
    return WeightPlan(tuple(sorted(plates, key=lambda plate: plate.dim)), plan.scale), inside
