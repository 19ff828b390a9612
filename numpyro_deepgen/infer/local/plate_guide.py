"""The guide of the local latent variables of one data plate."""

from collections.abc import Callable
from contextlib import ExitStack

import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro import handlers
from numpyro.contrib.module import eqx_module
from numpyro.distributions import Delta

from .arguments import find_features, resolve
from .local_flow import LocalFlow
from .plates import PlateCall
from .posterior import LocalPosterior
from .sites import PlateSpace

__all__ = ["PlateGuide"]


class PlateGuide:
    """The guide of the local sites of one data plate.

    Args:
        rng_key: random key of the starting weights.
        prefix: of the names of parameters and auxiliary sites.
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
        rng_key: Array,
        prefix: str,
        settings: LocalFlow,
        space: PlateSpace,
        model: Callable,
        args: tuple,
        kwargs: dict,
        call: PlateCall,
        global_dim: int,
    ):
        self.settings, self.space, self._model = settings, space, (model,)
        self.name = f"{prefix}_local_{space.name}"
        self._features = settings.features
        if settings.features is None and settings.per_datum is None:
            self._features = find_features(
                model, args, kwargs, space.name, call.size, space.full_size
            )
        self.global_dim = global_dim if settings.condition_on_globals else 0
        features = self.features(args, kwargs)
        self._posterior = LocalPosterior(
            rng_key,
            settings,
            space.loc,
            space.full_size,
            None if features is None else features[: call.size],
            self.global_dim,
        )

    def posterior(self) -> LocalPosterior:
        """The posterior, its parameters taken from the handlers around the call."""
        return eqx_module(self.name, self._posterior)

    @property
    def width(self) -> int:
        """Numbers that a draw of one datum takes, its context included."""
        return self.space.dim + self._posterior.context_dim

    def features(self, args: tuple, kwargs: dict) -> Array | None:
        """The rows of features that the arguments hold, or None."""
        if self._features is None:
            return None
        arrays = resolve(self._features, "features", self._model[0], args, kwargs)
        arrays = [jnp.asarray(array) for array in arrays]
        if self.settings.encoder is None:
            arrays = [array.astype(self.space.loc.dtype) for array in arrays]
        if len(arrays) == 1:
            (rows,) = arrays
            return rows[:, None] if rows.ndim == 1 else rows
        return jnp.concatenate([array.reshape(len(array), -1) for array in arrays], -1)

    def indices(self, args: tuple, kwargs: dict) -> Array | None:
        """The indices of the minibatch that the arguments hold, or None."""
        if self.settings.indices is None:
            return None
        (found,) = resolve(self.settings.indices, "indices", self._model[0], args, kwargs)
        return jnp.asarray(found)

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
        self, z: Array | None, plates: dict, call: PlateCall, args: tuple, kwargs: dict
    ) -> dict[str, Array]:
        """Sample the sites inside their plates."""
        name, posterior = self.space.name, self.posterior()
        if name not in plates:
            plates[name] = self._plate(call, self.indices(args, kwargs))
        features, drawn = self.features(args, kwargs), plates[name]._indices
        if features is not None and len(features) != call.size:
            features = features[drawn]
        rows = None
        if posterior.table is not None:
            rows = tuple(self.space.align(entry) for entry in posterior.table(drawn))
        context = self._context(posterior, features, z)
        with plates[name]:
            u = numpyro.sample(
                f"_{self.name}", posterior(context, rows), infer={"is_auxiliary": True}
            )
        return self._sample_sites(u, plates)

    def _sample_sites(self, u: Array, plates: dict) -> dict[str, Array]:
        values, scored = {}, numpyro.get_mask() is not False
        for site, value, log_det in self.space.unpack(u, squeeze=True):
            with ExitStack() as stack:
                for frame in reversed(site.frames):
                    if frame.name not in plates:
                        plates[frame.name] = numpyro.plate(frame.name, frame.size, dim=frame.dim)
                    stack.enter_context(plates[frame.name])
                log_density = -log_det if scored else jnp.zeros_like(log_det)
                delta = Delta(value, log_density, event_dim=site.event_dim)
                values[site.name] = numpyro.sample(site.name, delta)
        return values

    def _plate(self, call: PlateCall, indices: Array | None) -> numpyro.plate:
        name, full_size, dim = self.space.name, self.space.full_size, self.space.axis
        given = {} if indices is None else {name: indices}
        size = call.size if indices is None else len(indices)
        with handlers.substitute(data=given):
            return numpyro.plate(name, full_size, subsample_size=size, dim=dim)

    def _context(
        self, posterior: LocalPosterior, features: Array | None, z: Array | None
    ) -> Array | None:
        """Encodings and globals side by side, aligned with the plate."""
        parts = []
        if features is not None:
            parts.append(self.space.align(posterior.encode(features)))
        if self.global_dim:
            parts.append(z)
        return _side_by_side(parts)

    def distribution(self, z: Array | None, args: tuple, kwargs: dict, rows: slice = slice(None)):
        """The distribution of the vectors of the data passed, without plates.

        Args:
            z: globals, shape ``sample_shape + (G,)``, or None.
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.
            rows: which of the data.

        Returns:
            A distribution of batch shape ``(R,)``, with globals ``sample_shape + (R,)``.
        """
        posterior, features, parts = self.posterior(), self.features(args, kwargs), []
        if features is not None:
            parts.append(posterior.encode(features[rows]))
        if self.global_dim:
            parts.append(z[..., None, :])
        entries = None
        if posterior.table is not None:
            indices = self.indices(args, kwargs)
            entries = tuple(entry[rows] for entry in posterior.table(indices))
        return posterior(_side_by_side(parts), entries)

    def draw(
        self,
        rng_key: Array,
        sample_shape: tuple,
        z: Array | None,
        args: tuple,
        kwargs: dict,
        rows: slice = slice(None),
    ) -> Array:
        """Draw vectors of the data passed, shape ``sample_shape + (R, D)``."""
        found = self.distribution(z, args, kwargs, rows)
        return found.sample(rng_key, () if self.global_dim else sample_shape)

    def num_rows(self, args: tuple, kwargs: dict) -> int:
        """Number of data passed."""
        features, indices = self.features(args, kwargs), self.indices(args, kwargs)
        if features is not None:
            return len(features)
        return self.space.full_size if indices is None else len(indices)


def _side_by_side(parts: list[Array]) -> Array | None:
    if not parts:
        return None
    shape = jnp.broadcast_shapes(*(part.shape[:-1] for part in parts))
    parts = [jnp.broadcast_to(part, shape + part.shape[-1:]) for part in parts]
    return jnp.concatenate(parts, -1)
