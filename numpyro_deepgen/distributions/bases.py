"""Base distributions of flows, as modules."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from .._numerics.checks import check_positive, check_positive_int
from ..nn import ConditionalParameters
from ..ops._random import check_rng_key
from ..ops.linear import bounded_exp, strict_lower
from .transforms._host import Constant, is_traced

__all__ = ["FullNormal", "MixtureOfNormals", "StandardNormal", "StudentT"]


class StandardNormal(eqx.Module):
    r"""A module whose call gives :math:`N(0, I_D)`; in a flow, in the dtype of its transforms.

    Args:
        input_dim: ``D``.

    Example:
        >>> StandardNormal(3)().event_shape
        (3,)
    """

    input_dim: int = eqx.field(static=True)

    def __init__(self, input_dim: int):
        self.input_dim = check_positive_int("input_dim", input_dim)

    def __call__(self, context: Array | None = None) -> Distribution:
        return dist.Normal(jnp.zeros(self.input_dim), jnp.ones(self.input_dim)).to_event(1)


class FullNormal(eqx.Module):
    r"""A module whose call gives :math:`N(m, L L^T)` with learned ``m`` and lower triangular ``L``.

    ``L`` is :math:`e^{s} \odot (I + N)`, rows scaled, :math:`|s| < 30`; the start is
    :math:`N(0, I)`.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of dimensions.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax
        >>> FullNormal(jax.random.key(0), 3)().event_shape
        (3,)
    """

    parameter_net: ConditionalParameters
    input_dim: int = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        size = 2 * self.input_dim + self.input_dim * (self.input_dim - 1) // 2
        self.parameter_net = ConditionalParameters(
            rng_key, size, context_dim, hidden_dims, activation
        )

    def __call__(self, context: Array | None = None) -> Distribution:
        ends = [self.input_dim, 2 * self.input_dim]
        loc, log_scale, entries = jnp.split(self.parameter_net(context), ends, -1)
        scale = bounded_exp(log_scale)[0][..., None]
        eye = jnp.eye(self.input_dim, dtype=loc.dtype)
        scale_tril = scale * (eye + strict_lower(entries, self.input_dim))
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)


class MixtureOfNormals(eqx.Module):
    r"""A module whose call gives a mixture of ``K`` normals with diagonal covariances.

    The weights start equal, the scales at 1 and the locations as draws of :math:`N(0, I)`. The
    mixture is not reparameterised: for variational inference take another base.

    Args:
        rng_key: random key of the locations and of the network of the context.
        input_dim: number ``D`` of dimensions.
        num_components: number ``K`` of normals.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import jax
        >>> MixtureOfNormals(jax.random.key(0), 3, num_components=4)().event_shape
        (3,)
    """

    parameter_net: ConditionalParameters
    input_dim: int = eqx.field(static=True)
    num_components: int = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        num_components: int = 8,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.num_components = check_positive_int("num_components", num_components)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        size = self.num_components * self.input_dim
        locs_key, network_key = jax.random.split(check_rng_key(rng_key))
        locs = jax.random.normal(locs_key, (size,))
        init = jnp.concatenate([jnp.zeros(self.num_components), locs, jnp.zeros(size)])
        self.parameter_net = ConditionalParameters(
            network_key, init.size, context_dim, hidden_dims, activation, init
        )

    def __call__(self, context: Array | None = None) -> Distribution:
        count = self.num_components
        ends = [count, count * (1 + self.input_dim)]
        logits, loc, log_scale = jnp.split(self.parameter_net(context), ends, -1)
        shape = logits.shape + (self.input_dim,)
        scale = bounded_exp(log_scale.reshape(shape))[0]
        components = dist.Normal(loc.reshape(shape), scale).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)


class StudentT(eqx.Module):
    r"""A module whose call gives independent Student-t variables, with a learned tail each.

    Location 0, scale 1 and :math:`m + (\nu_0 - m) e^{a}` degrees of freedom, :math:`|a| < 30`.
    Above the least, :math:`m = 1`, the mean exists.

    Args:
        rng_key: random key of the network of the context.
        input_dim: number ``D`` of dimensions.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        init_df: degrees of freedom :math:`\nu_0` at the start, above ``min_df``.
        min_df: least degrees of freedom :math:`m`, positive.

    Raises:
        ValueError: if ``min_df`` is not positive or ``init_df`` not above it.

    Example:
        >>> import jax
        >>> StudentT(jax.random.key(0), 3)().base_dist.df.tolist()
        [10.0, 10.0, 10.0]

    References:
        Laszkiewicz et al. 2022, Marginal Tail-Adaptive Normalizing Flows.
    """

    parameter_net: ConditionalParameters
    input_dim: int = eqx.field(static=True)
    context_dim: int = eqx.field(static=True)
    init_df: float = eqx.field(static=True)
    min_df: float = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        init_df: float = 10.0,
        min_df: float = 1.0,
    ):
        self.input_dim = check_positive_int("input_dim", input_dim)
        self.context_dim = check_positive_int("context_dim", context_dim, minimum=0)
        self.min_df = check_positive("min_df", min_df)
        self.init_df = min_df + check_positive("init_df - min_df", init_df - min_df)
        self.parameter_net = ConditionalParameters(
            rng_key, self.input_dim, context_dim, hidden_dims, activation
        )

    def __call__(self, context: Array | None = None) -> Distribution:
        raw = self.parameter_net(context)
        df = self.min_df + (self.init_df - self.min_df) * bounded_exp(raw)[0]
        return dist.StudentT(df, jnp.zeros_like(raw), jnp.ones_like(raw)).to_event(1)


class FixedBase(eqx.Module):
    """A host distribution that is no parameter of the module, so it is not trained.

    Args:
        base_dist: distribution of event shape ``(D,)`` and empty batch shape.

    Raises:
        ValueError: if the distribution holds values under tracing.
    """

    frozen: Constant = eqx.field(static=True)

    def __init__(self, base_dist: Distribution):
        if is_traced(base_dist):
            raise ValueError(
                f"base_dist must hold concrete arrays, got {type(base_dist).__name__} with values "
                "under tracing; build the flow outside of jit, or pass a module."
            )
        self.frozen = Constant(base_dist)

    def __call__(self, context: Array | None = None) -> Distribution:
        return jax.tree.map(jnp.asarray, self.frozen.value)


def as_base(base_dist, input_dim: int) -> eqx.Module:
    """Turn the ``base_dist`` argument of a flow into a module, checking its event shape."""
    if isinstance(base_dist, eqx.Module):
        found = getattr(base_dist, "input_dim", input_dim)
    elif isinstance(base_dist, Distribution):
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


def cast_like(values, module):
    """Return arrays, or a distribution, in the floating dtype of a module's arrays (if any)."""
    arrays = [leaf for leaf in jax.tree.leaves(module) if eqx.is_inexact_array(leaf)]
    if not arrays:
        return values
    dtype = jnp.result_type(*arrays)

    def cast(leaf):
        inexact = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        return jnp.asarray(leaf, dtype) if inexact else leaf

    return jax.tree.map(cast, values)
