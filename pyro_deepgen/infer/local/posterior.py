"""The distribution of the local latent variables of each datum, given its features."""

import torch
from torch import Tensor, nn

from ...distributions import Flow, FlowDistribution
from ...distributions.transforms import FixedAffine, Transform
from ...nn import Dense
from .local_flow import LocalFlow

__all__ = ["LocalPosterior", "RowAffine"]

ENCODING_DIM = 32
INIT_SCALE = 0.1


class LocalPosterior(nn.Module):
    r"""The map from features and globals to :math:`q(u_n \mid x_n, \theta)`.

    The vectors follow the globals linearly besides what the flow makes of them: their dependence is
    there before a network has learned it.

    Args:
        settings: what it is made of.
        loc: where the vectors start, shape ``(D,)``.
        full_size: number of data, which a table has rows for.
        features: rows of features to build the encoder for, or None.
        global_dim: length of the vector of globals that the flow sees.
    """

    def __init__(
        self,
        settings: LocalFlow,
        loc: Tensor,
        full_size: int,
        features: Tensor | None,
        global_dim: int,
    ):
        super().__init__()
        self.encoder, encoding_dim = None, 0
        if features is not None:
            self.encoder, encoding_dim = _build_encoder(settings.encoder, features)
        # a plain function is kept from being taken for a part
        self._encode = (settings.encoder if self.encoder is None else None,)
        self.context_dim = encoding_dim + global_dim
        self.flow = _build_flow(settings.flow, len(loc), self.context_dim)
        # how the mean follows the globals, before the flow has learned to
        self.slope = nn.Parameter(loc.new_zeros(len(loc), global_dim)) if global_dim else None
        self.table = None
        if settings.per_datum is None:
            self.place = FixedAffine(loc, torch.full_like(loc, INIT_SCALE))
        else:
            self.table = _Table(loc, full_size, settings.per_datum)
        self.to(loc)

    def encode(self, features: Tensor) -> Tensor:
        """Return the encoding of rows of features, shape ``(R, E)``."""
        return (self.encoder or self._encode[0])(features)

    def forward(self, context: Tensor | None, rows: tuple[Tensor, ...] | None) -> FlowDistribution:
        """Return the distribution of the vectors.

        Args:
            context: encodings and globals side by side, or None.
            rows: entries of the table that broadcast against the context, or None.
        """
        inner = self.flow(context)
        loc, *others = (self.place.loc, self.place.scale.log()) if rows is None else rows
        if self.slope is not None:
            loc = loc + context[..., -self.slope.shape[-1] :] @ self.slope.mT
        base_dist = inner.base_dist
        if rows is not None:
            shape = torch.broadcast_shapes(inner.batch_shape, rows[0].shape[:-1])
            base_dist = base_dist.expand(shape)
        return FlowDistribution(base_dist, [*inner.transforms, RowAffine(loc, *others)], context)


class RowAffine(Transform):
    r"""The transform :math:`y_n = t_n + s_n \odot (x_n + N_n x_n)` with parameters of each row.

    Args:
        loc: shape ``batch_shape + (D,)``.
        log_scale: shape ``batch_shape + (D,)``.
        lower: strictly lower triangles, shape ``batch_shape + (D, D)``, or None for none.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, lower: Tensor | None = None):
        super().__init__(loc.shape[-1])
        self.loc, self.log_scale, self.lower = loc, log_scale, lower

    def forward_and_log_det(self, x, context=None):
        if self.lower is not None:
            x = x + (self.lower @ x.unsqueeze(-1)).squeeze(-1)
        y = self.loc + self.log_scale.exp() * x
        return y, self.log_scale.sum(-1).expand(y.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        x = (y - self.loc) * (-self.log_scale).exp()
        if self.lower is not None:
            x = torch.linalg.solve_triangular(
                self.lower, x.unsqueeze(-1), upper=False, unitriangular=True
            ).squeeze(-1)
        return x, -self.log_scale.sum(-1).expand(x.shape[:-1])


class _Table(nn.Module):
    """Location, log scale and triangle of each datum."""

    def __init__(self, loc: Tensor, full_size: int, kind: str):
        super().__init__()
        self.loc = nn.Parameter(loc.expand(full_size, -1).clone())
        start = torch.full_like(loc, INIT_SCALE).log()
        self.log_scale = nn.Parameter(start.expand(full_size, -1).clone())
        self.lower = None
        if kind == "full" and len(loc) > 1:
            self.lower = nn.Parameter(loc.new_zeros(full_size, len(loc), len(loc)))

    def forward(self, indices: Tensor | None) -> tuple[Tensor, ...]:
        entries = [self.loc, self.log_scale]
        if self.lower is not None:
            entries.append(self.lower)
        if indices is not None:
            entries = [entry[indices] for entry in entries]
        return (*entries[:2], *(lower.tril(-1) for lower in entries[2:]))


class _Standardize(nn.Module):
    """Flattens rows and brings each column to mean zero and variance one."""

    def __init__(self, rows: Tensor):
        super().__init__()
        rows = rows.detach().flatten(1)
        scale = rows.std(0, correction=0)
        self.register_buffer("loc", rows.mean(0))
        self.register_buffer("scale", torch.where(scale > 0, scale, torch.ones_like(scale)))

    def forward(self, rows: Tensor) -> Tensor:
        return (rows.flatten(1) - self.loc) / self.scale


def _build_encoder(encoder, features: Tensor) -> tuple[nn.Module | None, int]:
    """The encoder as a module, None if it is a function, and the size of its output."""
    if encoder is None:
        standardize = _Standardize(features)
        dense = Dense(standardize.loc.numel(), ENCODING_DIM, hidden_dims=(64, 64))
        return nn.Sequential(standardize, dense), ENCODING_DIM
    with torch.no_grad():
        encoding = encoder(features)
    shape = tuple(getattr(encoding, "shape", ()))
    if len(shape) != 2 or shape[0] != len(features):
        raise ValueError(
            f"encoder must return an array of shape (rows, size), got {shape or type(encoding)} "
            f"for features of shape {tuple(features.shape)}; flatten what it returns for a row."
        )
    return (encoder if isinstance(encoder, nn.Module) else None), shape[1]


def _build_flow(recipe, input_dim: int, context_dim: int) -> Flow:
    flow = recipe(input_dim, context_dim=context_dim)
    if not isinstance(flow, Flow):
        raise TypeError(
            f"flow must be a recipe that gives a Flow, got {type(flow).__name__}; pass for example "
            "iaf."
        )
    return flow
