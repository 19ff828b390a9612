"""Base distributions of flows, as modules."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import Distribution, Normal

from .._numerics.checks import check_positive_int

__all__ = ["StandardNormal"]


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
        return Normal(jnp.zeros(self.input_dim), jnp.ones(self.input_dim)).to_event(1)


class FixedBase(eqx.Module):
    """A host distribution that is no parameter of the module, so it is not trained.

    Args:
        base_dist: distribution of event shape ``(D,)`` and empty batch shape.

    Raises:
        ValueError: if the distribution holds values under tracing.
    """

    frozen: "_Frozen" = eqx.field(static=True)

    def __init__(self, base_dist: Distribution):
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(base_dist)):
            raise ValueError(
                f"base_dist must hold concrete arrays, got {type(base_dist).__name__} with values "
                "under tracing; build the flow outside of jit, or pass a module."
            )
        self.frozen = _Frozen(jax.tree.map(np.asarray, base_dist))

    def __call__(self, context: Array | None = None) -> Distribution:
        return jax.tree.map(jnp.asarray, self.frozen.value)


class _Frozen:
    """A constant that compares by identity, also after copying."""

    def __init__(self, value):
        self.value = value

    def __deepcopy__(self, memo) -> "_Frozen":
        return self


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
