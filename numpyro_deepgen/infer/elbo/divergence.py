"""Settings of the weighted divergence, and the groups of sites it is limited by."""

import math
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from .schedules import check_weight
from .sites import Site, TracePair

__all__ = ["Divergence"]


class Divergence:
    """Which sites share their free nats, and how many.

    Args:
        free_bits: nats of each group and datum that cost nothing, or a dictionary of them.
        groups: names of latent sites by group, None for each site by itself.
    """

    def __init__(self, free_bits: Any, groups: Any):
        if isinstance(free_bits, Mapping):
            free_bits = {n: check_weight(f"free_bits[{n!r}]", v) for n, v in free_bits.items()}
        else:
            free_bits = check_weight("free_bits", free_bits)
        if groups is not None:
            if not isinstance(groups, Mapping):
                raise TypeError(
                    f"groups must be a dictionary of site names by group, got {groups!r}; pass for "
                    "example {'top': ['z1', 'z2']}."
                )
            groups = {name: list(sites) for name, sites in groups.items()}
        self.free_bits, self.groups = free_bits, groups

    def __repr__(self) -> str:
        return f"Divergence(free_bits={self.free_bits}, groups={self.groups})"

    def members(self, pair: TracePair) -> dict[str, list[str]]:
        """Names of the latent sites by group; sites that are auxiliary make all one group.

        Raises:
            ValueError: if the groups do not hold every latent site once.
        """
        latent = [name for name, site in pair.model.items() if not site.observed]
        auxiliary = [
            name for name, site in pair.guide.items() if not site.observed and name not in latent
        ]
        if self.groups is None:
            groups = {"all": latent} if auxiliary else {name: [name] for name in latent}
        else:
            groups = self.groups
            given = [name for sites in groups.values() for name in sites if name not in auxiliary]
            if sorted(given) != sorted(latent):
                raise ValueError(
                    f"groups must hold every latent site of the model once, got {given} for "
                    f"{latent}; list each in one group."
                )
            if auxiliary and len(groups) > 1:
                raise ValueError(
                    f"groups must be one for a guide whose sites are functions of {auxiliary}, got "
                    f"{list(groups)}; put all sites into one group."
                )
        self._check_names(list(groups))
        return {name: sites + auxiliary for name, sites in groups.items()}

    def _check_names(self, names: Sequence[str]) -> None:
        if isinstance(self.free_bits, Mapping):
            unknown = [name for name in self.free_bits if name not in names]
            if unknown:
                raise ValueError(
                    f"free_bits must be of groups or latent sites, got {unknown}; there are "
                    f"{list(names)}."
                )

    def floor(self, pair: TracePair, name: str, members: Sequence[str]) -> Any:
        """The divergence of the group below which nothing is paid, of all data together."""
        free = self.free_bits
        free = free.get(name, 0.0) if isinstance(free, Mapping) else free
        # an estimate at draws may be negative, and must not be cut off at zero
        return free * _count(pair, members) if free > 0.0 else -math.inf


def _count(pair: TracePair, members: Sequence[str]) -> Any:
    """Number of data of a group: entries of the plates around it and around what is observed."""
    sites: list[Site] = [pair.model[name] for name in members if name in pair.model]
    around = sites + [site for site in pair.model.values() if site.observed]
    plates = [p for p in sites[0].plates if all(p in other.plates for other in around)]
    return sites[0].scale * prod(p.subsample_size for p in plates if p.dim is not None)
