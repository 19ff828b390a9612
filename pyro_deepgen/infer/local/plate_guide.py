"""The guide of the local latent variables of one data plate."""

from collections.abc import Callable
from contextlib import ExitStack

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor, nn

from .arguments import find_features, resolve
from .local_flow import LocalFlow
from .plates import PlateCall
from .posterior import LocalPosterior
from .sites import PlateSpace

__all__ = ["PlateGuide"]


class PlateGuide(nn.Module):
    """The guide of the local sites of one data plate.

    Args:
        settings: what it is made of.
        space: the sites.
        model: the model.
        args: positional arguments of a first call.
        kwargs: keyword arguments of it.
        call: the plate in that call.
        global_dim: length of the vector of globals.
    """

    def __init__(
        self,
        settings: LocalFlow,
        space: PlateSpace,
        model: Callable,
        args: tuple,
        kwargs: dict,
        call: PlateCall,
        global_dim: int,
    ):
        super().__init__()
        self.settings, self.space, self._model = settings, space, (model,)
        self._features = settings.features
        if settings.features is None and settings.per_datum is None:
            self._features = find_features(
                model, args, kwargs, space.name, call.size, space.full_size
            )
        self.global_dim = global_dim if settings.condition_on_globals else 0
        features = self.features(args, kwargs)
        self.posterior = LocalPosterior(
            settings,
            space.loc,
            space.full_size,
            None if features is None else features[: call.size],
            self.global_dim,
        )

    @property
    def width(self) -> int:
        """Numbers that a draw of one datum takes, its context included."""
        return self.space.dim + self.posterior.context_dim

    def features(self, args: tuple, kwargs: dict) -> Tensor | None:
        """The rows of features that the arguments hold, or None."""
        if self._features is None:
            return None
        arrays = resolve(self._features, "features", self._model[0], args, kwargs)
        arrays = [torch.as_tensor(array) for array in arrays]
        if self.settings.encoder is None:
            arrays = [array.to(self.space.loc) for array in arrays]
        if len(arrays) == 1:
            (rows,) = arrays
            return rows.unsqueeze(-1) if rows.dim() == 1 else rows
        return torch.cat([array.reshape(len(array), -1) for array in arrays], -1)

    def indices(self, args: tuple, kwargs: dict) -> Tensor | None:
        """The indices of the minibatch that the arguments hold, or None."""
        if self.settings.indices is None:
            return None
        (found,) = resolve(self.settings.indices, "indices", self._model[0], args, kwargs)
        return torch.as_tensor(found)

    def check(self, call: PlateCall, args: tuple, kwargs: dict) -> None:
        """Raise if features or table cannot be brought into line with the minibatch."""
        features, full_size = self.features(args, kwargs), self.space.full_size
        rows = call.size if features is None else len(features)
        if rows not in (call.size, full_size):
            raise ValueError(
                f"features must have a row for each of the {full_size} data of plate "
                f"{self.space.name!r} or of the {call.size} of its minibatch, got {rows}; pass the "
                "argument that holds them."
            )
        if call.size == full_size or self.settings.indices is not None:
            return
        needs_indices = self.settings.per_datum is not None or rows == full_size
        if needs_indices and not call.read:
            raise ValueError(
                f"indices must be given where a table, or features of all {full_size} data, meets "
                f"a minibatch of plate {self.space.name!r} that was cut outside the plate; pass "
                "the model an argument with the indices and LocalFlow(indices=its name), or index "
                "the data by those that the plate draws."
            )
        if not needs_indices and call.read:
            raise ValueError(
                f"features must have a row for each of the {full_size} data of plate "
                f"{self.space.name!r}, whose indices the model reads, got {rows}; pass those of "
                "all data, the minibatch is taken from them."
            )

    def sample(
        self,
        prefix: str,
        z: Tensor | None,
        plates: dict,
        call: PlateCall,
        args: tuple,
        kwargs: dict,
    ) -> dict[str, Tensor]:
        """Sample the sites inside their plates."""
        name = self.space.name
        if name not in plates:
            plates[name] = self._plate(call, self.indices(args, kwargs))
        with plates[name] as drawn:
            features = self.features(args, kwargs)
            if features is not None and len(features) != call.size:
                features = features[drawn]
            rows = self.posterior.table and self.posterior.table(drawn)
            context = self._context(features, z)
            if rows is not None:
                rows = tuple(self.space.align(entry) for entry in rows)
            u = pyro.sample(
                f"_{prefix}_local_{name}",
                self.posterior(context, rows),
                infer={"is_auxiliary": True},
            )
        return self._sample_sites(u, plates)

    def _sample_sites(self, u: Tensor, plates: dict) -> dict[str, Tensor]:
        values, scored = {}, poutine.get_mask() is not False
        for site, value, log_det in self.space.unpack(u, squeeze=True):
            with ExitStack() as stack:
                for frame in site.frames:
                    if frame.name not in plates:
                        plates[frame.name] = pyro.plate(frame.name, frame.size, dim=frame.dim)
                    stack.enter_context(plates[frame.name])
                delta = Delta(value, -log_det if scored else 0.0, event_dim=site.event_dim)
                values[site.name] = pyro.sample(site.name, delta)
        return values

    def _plate(self, call: PlateCall, indices: Tensor | None) -> pyro.plate:
        name, full_size, dim = self.space.name, self.space.full_size, self.space.axis
        if indices is not None:
            return pyro.plate(name, full_size, subsample=indices, dim=dim)
        if call.given:
            # the model keeps the indices it was given
            with poutine.block(hide_fn=lambda msg: msg["name"] == name):
                return pyro.plate(name, full_size, subsample=torch.arange(call.size), dim=dim)
        return pyro.plate(name, full_size, subsample_size=call.size, dim=dim)

    def _context(self, features: Tensor | None, z: Tensor | None) -> Tensor | None:
        """Encodings and globals side by side, aligned with the plate."""
        parts = []
        if features is not None:
            parts.append(self.space.align(self.posterior.encode(features)))
        if self.global_dim:
            parts.append(z)
        return _side_by_side(parts)

    def distribution(self, z: Tensor | None, args: tuple, kwargs: dict, rows: slice = slice(None)):
        """The distribution of the vectors of the data passed, without plates.

        Args:
            z: globals, shape ``sample_shape + (G,)``, or None.
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.
            rows: which of the data.

        Returns:
            A distribution of batch shape ``(R,)``, with globals ``sample_shape + (R,)``.
        """
        features, parts = self.features(args, kwargs), []
        if features is not None:
            parts.append(self.posterior.encode(features[rows]))
        if self.global_dim:
            parts.append(z.unsqueeze(-2))
        entries = None
        if self.posterior.table is not None:
            indices = self.indices(args, kwargs)
            entries = tuple(entry[rows] for entry in self.posterior.table(indices))
        return self.posterior(_side_by_side(parts), entries)

    def draw(
        self,
        sample_shape: torch.Size,
        z: Tensor | None,
        args: tuple,
        kwargs: dict,
        rows: slice = slice(None),
    ) -> Tensor:
        """Draw vectors of the data passed, shape ``sample_shape + (R, D)``."""
        found = self.distribution(z, args, kwargs, rows)
        return found.sample(torch.Size() if self.global_dim else sample_shape)

    def num_rows(self, args: tuple, kwargs: dict) -> int:
        """Number of data passed."""
        features, indices = self.features(args, kwargs), self.indices(args, kwargs)
        if features is not None:
            return len(features)
        return self.space.full_size if indices is None else len(indices)


def _side_by_side(parts: list[Tensor]) -> Tensor | None:
    if not parts:
        return None
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(shape + part.shape[-1:]) for part in parts], -1)
