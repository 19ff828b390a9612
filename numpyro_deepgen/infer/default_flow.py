"""The flow that a guide takes unless another is asked for."""

from jax import Array

from ..distributions import Flow, iaf, nsf

__all__ = ["default_flow"]


def default_flow(rng_key: Array, input_dim: int) -> Flow:
    """Return an inverse autoregressive flow, or a spline flow of one dimension.

    Affine steps that depend on the other coordinates follow funnels and bends, whose tails a spline
    of a bounded interval misses; for one coordinate they are affine maps and nothing else.

    Args:
        rng_key: key of the networks.
        input_dim: number ``D`` of inputs.

    Example:
        >>> import jax
        >>> default_flow(jax.random.key(0), 3)().event_shape
        (3,)
    """
    return nsf(rng_key, input_dim) if input_dim == 1 else iaf(rng_key, input_dim)
