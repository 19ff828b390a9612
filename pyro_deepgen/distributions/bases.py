"""Base distributions of flows, as modules."""

import math
from collections.abc import Callable, Sequence

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor, nn

from .._numerics.checks import check_positive, check_positive_int
from ..nn import ConditionalParameters
from ..ops._scalars import scalars
from ..ops.linear import bounded_exp, strict_lower
from ._validation import is_plainly_real
from .transforms._host import map_tensors

__all__ = ["FullNormal", "MixtureOfNormals", "StandardNormal", "StudentT"]


class StandardNormal(nn.Module):
    r"""A module whose call gives :math:`N(0, I_D)` on the module's device and dtype.

    Args:
        input_dim: ``D``.

    Example:
        >>> StandardNormal(3)().event_shape
        torch.Size([3])
    """

    def __init__(self, input_dim: int):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.register_buffer("loc", torch.zeros(self.input_dim), persistent=False)

    def forward(self, context: Tensor | None = None) -> Distribution:
        return UnitNormal(self.loc, torch.ones_like(self.loc)).to_event(1)


class UnitNormal(dist.Normal):
    """The host's normal where location and scale are 0 and 1, in fewer operations."""

    def rsample(self, sample_shape=()) -> Tensor:
        return self.loc.new_empty(self._extended_shape(sample_shape)).normal_()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args and not is_plainly_real(self, value):
            self._validate_sample(value)
        if value.shape[value.ndim - self.loc.ndim :] != self.loc.shape:
            value = value.expand(torch.broadcast_shapes(value.shape, self.loc.shape))
        (offset,) = scalars(self.loc, -0.5 * math.log(2.0 * math.pi))
        return torch.addcmul(offset, value, value, value=-0.5)


class FullNormal(nn.Module):
    r"""A module whose call gives :math:`N(m, L L^T)` with learned ``m`` and lower triangular ``L``.

    ``L`` is :math:`e^{s} \odot (I + N)`, rows scaled, :math:`|s| < 30`; the start is
    :math:`N(0, I)`.

    Args:
        input_dim: number ``D`` of dimensions.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> FullNormal(3)().event_shape
        torch.Size([3])
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.sizes = [self.input_dim, self.input_dim, self.input_dim * (self.input_dim - 1) // 2]
        self.parameter_net = ConditionalParameters(
            sum(self.sizes), context_dim, hidden_dims, activation
        )

    def forward(self, context: Tensor | None = None) -> Distribution:
        loc, log_scale, entries = self.parameter_net(context).split(self.sizes, -1)
        scale = bounded_exp(log_scale)[0].unsqueeze(-1)
        eye = torch.eye(self.input_dim, dtype=loc.dtype, device=loc.device)
        scale_tril = scale * (eye + strict_lower(entries, self.input_dim))
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)


class MixtureOfNormals(nn.Module):
    r"""A module whose call gives a mixture of ``K`` normals with diagonal covariances.

    The weights start equal, the scales at 1 and the locations as draws of :math:`N(0, I)`. The
    mixture is not reparameterised: for variational inference take another base.

    Args:
        input_dim: number ``D`` of dimensions.
        num_components: number ``K`` of normals.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> MixtureOfNormals(3, num_components=4)().event_shape
        torch.Size([3])
    """

    def __init__(
        self,
        input_dim: int,
        num_components: int = 8,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.num_components = check_positive_int("num_components", num_components)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        size = self.num_components * self.input_dim
        self.sizes = [self.num_components, size, size]
        init = torch.zeros(sum(self.sizes))
        init[self.num_components : self.num_components + size] = torch.randn(size)
        self.parameter_net = ConditionalParameters(
            init.numel(), context_dim, hidden_dims, activation, init
        )

    def forward(self, context: Tensor | None = None) -> Distribution:
        logits, loc, log_scale = self.parameter_net(context).split(self.sizes, -1)
        loc, log_scale = (
            t.unflatten(-1, (self.num_components, self.input_dim)) for t in (loc, log_scale)
        )
        components = dist.Normal(loc, bounded_exp(log_scale)[0]).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)


class StudentT(nn.Module):
    r"""A module whose call gives independent Student-t variables, with a learned tail each.

    Location 0, scale 1 and :math:`m + (\nu_0 - m) e^{a}` degrees of freedom, :math:`|a| < 30`.
    Above the least, :math:`m = 1`, the mean exists.

    Args:
        input_dim: number ``D`` of dimensions.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        init_df: degrees of freedom :math:`\nu_0` at the start, above ``min_df``.
        min_df: least degrees of freedom :math:`m`, positive.

    Raises:
        ValueError: if ``min_df`` is not positive or ``init_df`` not above it.

    Example:
        >>> StudentT(3)().base_dist.df.tolist()
        [10.0, 10.0, 10.0]

    References:
        Laszkiewicz et al. 2022, Marginal Tail-Adaptive Normalizing Flows.
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        init_df: float = 10.0,
        min_df: float = 1.0,
    ):
        super().__init__()
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.min_df = check_positive("min_df", min_df)
        self.init_df = min_df + check_positive("init_df - min_df", init_df - min_df)
        self.parameter_net = ConditionalParameters(
            self.input_dim, context_dim, hidden_dims, activation
        )

    def forward(self, context: Tensor | None = None) -> Distribution:
        raw = self.parameter_net(context)
        df = self.min_df + (self.init_df - self.min_df) * bounded_exp(raw)[0]
        return dist.StudentT(df, torch.zeros_like(raw), torch.ones_like(raw)).to_event(1)


class FixedBase(nn.Module):
    """A host distribution that moves with the module but is not trained.

    Args:
        base_dist: distribution of event shape ``(D,)`` and empty batch shape.
    """

    def __init__(self, base_dist: Distribution):
        super().__init__()
        self.base_dist = base_dist

    def forward(self, context: Tensor | None = None) -> Distribution:
        return self.base_dist

    def _apply(self, fn: Callable, recurse: bool = True) -> "FixedBase":
        self.base_dist = map_tensors(self.base_dist, fn)
        return super()._apply(fn, recurse)


def as_base(base_dist, input_dim: int) -> nn.Module:
    """Turn the ``base_dist`` argument of a flow into a module, checking its event shape."""
    if isinstance(base_dist, nn.Module):
        found = getattr(base_dist, "input_dim", input_dim)
    elif isinstance(base_dist, torch.distributions.Distribution):
        if base_dist.batch_shape != ():
            raise ValueError(
                f"base_dist must have an empty batch shape, got {tuple(base_dist.batch_shape)}; "
                "turn batch dimensions into event dimensions with .to_event."
            )
        if len(base_dist.event_shape) != 1:
            raise ValueError(
                f"base_dist must have event shape ({input_dim},), got "
                f"{tuple(base_dist.event_shape)}; use .to_event(1) on a vector of scalars."
            )
        found = base_dist.event_shape[0]
        base_dist = FixedBase(base_dist)
    else:
        raise TypeError(
            f"base_dist must be a distribution or a module that gives one, got {base_dist!r}; "
            "pass for example StandardNormal(input_dim)."
        )
    if found != input_dim:
        raise ValueError(
            f"base_dist must have input_dim={input_dim} like the transforms, got {found}; "
            "build them alike."
        )
    return base_dist
