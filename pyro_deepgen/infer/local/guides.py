"""The guides of the local latent variables, one for each data plate of a model."""

from collections.abc import Callable

import torch
from pyro import poutine
from torch import Tensor, nn

from .arguments import signature_of
from .local_flow import LocalFlow
from .plate_guide import PlateGuide
from .plates import PlateCall, find_spaces, plate_calls

__all__ = ["LocalGuides"]

MAX_NUMBERS = 8_000_000


class LocalGuides(nn.Module):
    """All local guides of a model.

    Args:
        settings: of every data plate, or by plate.
        model: the model.
        trace: a trace of it.
    """

    def __init__(
        self,
        settings: LocalFlow | dict[str, LocalFlow],
        model: Callable,
        trace: poutine.Trace,
    ):
        super().__init__()
        by_plate = settings if isinstance(settings, dict) else None
        self._model = (model,)
        self.spaces = find_spaces(trace, by_plate and tuple(by_plate))
        self.settings = by_plate or dict.fromkeys(self.spaces, settings)
        self.parts = nn.ModuleList()
        self._calls: dict[tuple, dict[str, PlateCall]] = {}

    @property
    def site_names(self) -> list[str]:
        """Names of the local sites."""
        return [site.name for space in self.spaces.values() for site in space.sites]

    def build(self, args: tuple, kwargs: dict, global_dim: int) -> None:
        """Build the guides from a first call's arguments.

        Args:
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.
            global_dim: number ``G`` of globals.
        """
        calls = plate_calls(self._model[0], self.spaces, args, kwargs)
        for name, space in self.spaces.items():
            part = PlateGuide(
                self.settings[name], space, self._model[0], args, kwargs, calls[name], global_dim
            )
            self.parts.append(part)
        self._remember(calls, args, kwargs)

    def _calls_for(self, args: tuple, kwargs: dict) -> dict[str, PlateCall]:
        """The plates of a call, inspected once for each kind of arguments."""
        signature = signature_of(args, kwargs)
        if signature not in self._calls:
            self._remember(plate_calls(self._model[0], self.spaces, args, kwargs), args, kwargs)
        return self._calls[signature]

    def _remember(self, calls: dict[str, PlateCall], args: tuple, kwargs: dict) -> None:
        for part in self.parts:
            part.check(calls[part.space.name], args, kwargs)
        self._calls[signature_of(args, kwargs)] = calls

    def sample(
        self, prefix: str, z: Tensor | None, plates: dict, args: tuple, kwargs: dict
    ) -> dict[str, Tensor]:
        """Sample the local sites inside their plates.

        Args:
            prefix: of the names of auxiliary sites.
            z: globals that the flows see, about zero, or None.
            plates: plates that exist already, by name.
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.
        """
        calls, values = self._calls_for(args, kwargs), {}
        for part in self.parts:
            call = calls[part.space.name]
            values.update(part.sample(prefix, z, plates, call, args, kwargs))
        return values

    def draw(
        self, sample_shape: torch.Size, z: Tensor | None, args: tuple, kwargs: dict
    ) -> dict[str, Tensor]:
        """Draw the local sites of all data passed, given draws of the globals."""
        values = {}
        for part in self.parts:
            values.update(part.space.constrain(part.draw(sample_shape, z, args, kwargs))[0])
        return values

    def quantiles(
        self, levels: Tensor, num_draws: int, z: Tensor | None, args: tuple, kwargs: dict
    ) -> dict[str, Tensor]:
        """Quantiles of the unconstrained coordinates of all data passed, mapped to the support."""
        values = {}
        for part in self.parts:
            chunk = max(1, MAX_NUMBERS // (num_draws * part.width))
            found = []
            for start in range(0, part.num_rows(args, kwargs), chunk):
                rows = slice(start, start + chunk)
                u = part.draw(torch.Size([num_draws]), z, args, kwargs, rows)
                found.append(u.quantile(levels.to(u), 0))
            values.update(part.space.constrain(torch.cat(found, -2))[0])
        return values

    def log_density(
        self, samples: dict[str, Tensor], z: Tensor | None, args: tuple, kwargs: dict
    ) -> Tensor:
        """Log density of the local sites of all data passed, given the globals."""
        total = 0.0
        for part in self.parts:
            u, log_det = part.space.unconstrain(samples)
            log_prob = part.distribution(z, args, kwargs).log_prob(u)
            total = total + log_prob.sum(-1) - log_det
        return total
