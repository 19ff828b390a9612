"""The distribution of the local latent variables of each datum, given its features."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax, random

from ...distributions import Flow, FlowDistribution
from ...distributions.transforms import FixedAffine, Transform
from ...nn import Dense
from .local_flow import LocalFlow

__all__ = ["LocalPosterior", "RowAffine"]

ENCODING_DIM = 32
INIT_SCALE = 0.1


class LocalPosterior(eqx.Module):
    r"""The map from features and globals to :math:`q(u_n \mid x_n, \theta)`.

    The vectors follow the globals linearly besides what the flow makes of them: their dependence is
    there before a network has learned it.

    Args:
        rng_key: random key of the starting weights.
        settings: what it is made of.
        loc: where the vectors start, shape ``(D,)``.
        full_size: number of data, which a table has rows for.
        features: rows of features to build the encoder for, or None.
        global_dim: length of the vector of globals that the flow sees.
    """

    encoder: eqx.Module | None
    flow: Flow
    place: FixedAffine | None
    slope: Array | None
    table: "_Table | None"
    context_dim: int = eqx.field(static=True)
    function: Callable | None = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        settings: LocalFlow,
        loc: Array,
        full_size: int,
        features: Array | None,
        global_dim: int,
    ):
        encoder_key, flow_key = random.split(rng_key)
        self.encoder, encoding_dim = None, 0
        if features is not None:
            self.encoder, encoding_dim = _build_encoder(encoder_key, settings.encoder, features)
        # a function, which may register parameters with the host
        self.function = settings.encoder if self.encoder is None else None
        self.context_dim = encoding_dim + global_dim
        flow = _build_flow(settings.flow, flow_key, len(loc), self.context_dim)
        self.flow = jax.tree.map(
            lambda leaf: leaf.astype(loc.dtype) if eqx.is_inexact_array(leaf) else leaf, flow
        )
        # how the mean follows the globals, before the flow has learned to
        self.slope = jnp.zeros((len(loc), global_dim), loc.dtype) if global_dim else None
        self.place = self.table = None
        if settings.per_datum is None:
            self.place = FixedAffine(loc, jnp.full_like(loc, INIT_SCALE))
        else:
            self.table = _Table(loc, full_size, settings.per_datum)

    def encode(self, features: Array) -> Array:
        """Return the encoding of rows of features, shape ``(R, E)``."""
        return (self.encoder or self.function)(features)

    def __call__(self, context: Array | None, rows: tuple[Array, ...] | None) -> FlowDistribution:
        """Return the distribution of the vectors.

        Args:
            context: encodings and globals side by side, or None.
            rows: entries of the table that broadcast against the context, or None.
        """
        inner = self.flow(context)
        if rows is None:
            loc, *others = lax.stop_gradient((self.place.loc, jnp.log(self.place.scale)))
        else:
            loc, *others = rows
        if self.slope is not None:
            loc = loc + context[..., -self.slope.shape[-1] :] @ self.slope.T
        base_dist = inner.base_dist
        if rows is not None:
            shape = jnp.broadcast_shapes(inner.batch_shape, rows[0].shape[:-1])
            base_dist = base_dist.expand(shape)
        return FlowDistribution(base_dist, [*inner.transforms, RowAffine(loc, *others)], context)


class RowAffine(Transform):
    r"""The transform :math:`y_n = t_n + s_n \odot (x_n + N_n x_n)` with parameters of each row.

    Args:
        loc: shape ``batch_shape + (D,)``.
        log_scale: shape ``batch_shape + (D,)``.
        lower: strictly lower triangles, shape ``batch_shape + (D, D)``, or None for none.
    """

    def __init__(self, loc: Array, log_scale: Array, lower: Array | None = None):
        super().__init__(loc.shape[-1])
        self.loc, self.log_scale, self.lower = loc, log_scale, lower

    def forward_and_log_det(self, x, context=None):
        if self.lower is not None:
            x = x + jnp.matvec(self.lower, x)
        y = self.loc + jnp.exp(self.log_scale) * x
        return y, jnp.broadcast_to(self.log_scale.sum(-1), y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        x = (y - self.loc) * jnp.exp(-self.log_scale)
        if self.lower is not None:
            lower = jnp.broadcast_to(self.lower, x.shape + x.shape[-1:])
            x = lax.linalg.triangular_solve(
                lower, x[..., None], left_side=True, lower=True, unit_diagonal=True
            )[..., 0]
        return x, jnp.broadcast_to(-self.log_scale.sum(-1), x.shape[:-1])


class _Table(eqx.Module):
    """Location, log scale and triangle of each datum."""

    loc: Array
    log_scale: Array
    lower: Array | None

    def __init__(self, loc: Array, full_size: int, kind: str):
        size = loc.size
        self.loc = jnp.tile(loc, (full_size, 1))
        self.log_scale = jnp.full_like(self.loc, jnp.log(INIT_SCALE))
        has_lower = kind == "full" and size > 1
        self.lower = jnp.zeros((full_size, size, size), loc.dtype) if has_lower else None

    def __call__(self, indices: Array | None) -> tuple[Array, ...]:
        entries = [self.loc, self.log_scale]
        if self.lower is not None:
            entries.append(self.lower)
        if indices is not None:
            entries = [entry[indices] for entry in entries]
        return (*entries[:2], *(jnp.tril(lower, -1) for lower in entries[2:]))


class _StandardizedDense(eqx.Module):
    """Flattens rows, brings each column to mean zero and variance one, and applies a network."""

    loc: Array
    scale: Array
    network: Dense

    def __init__(self, rng_key: Array, rows: Array):
        rows = rows.reshape(len(rows), -1)
        scale = rows.std(0)
        self.loc, self.scale = rows.mean(0), jnp.where(scale > 0, scale, 1.0)
        network = Dense(rng_key, rows.shape[-1], ENCODING_DIM, hidden_dims=(64, 64))
        self.network = jax.tree.map(
            lambda leaf: leaf.astype(rows.dtype) if eqx.is_inexact_array(leaf) else leaf, network
        )

    def __call__(self, rows: Array) -> Array:
        loc, scale = lax.stop_gradient((self.loc, self.scale))
        return self.network((rows.reshape(len(rows), -1) - loc) / scale)


def _build_encoder(rng_key: Array, encoder, features: Array) -> tuple[eqx.Module | None, int]:
    """The encoder as a module, None if it is a function, and the size of its output."""
    if encoder is None:
        return _StandardizedDense(rng_key, features), ENCODING_DIM
    encoding = encoder(features)
    shape = tuple(getattr(encoding, "shape", ()))
    if len(shape) != 2 or shape[0] != len(features):
        raise ValueError(
            f"encoder must return an array of shape (rows, size), got {shape or type(encoding)} "
            f"for features of shape {tuple(features.shape)}; flatten what it returns for a row."
        )
    return (encoder if isinstance(encoder, eqx.Module) else None), shape[1]


def _build_flow(recipe, rng_key: Array, input_dim: int, context_dim: int) -> Flow:
    flow = recipe(rng_key, input_dim, context_dim=context_dim)
    if not isinstance(flow, Flow):
        raise TypeError(
            f"flow must be a recipe that gives a Flow, got {type(flow).__name__}; pass for example "
            "iaf."
        )
    return flow
