"""The flow that a guide takes unless another is asked for."""

from ..distributions import Flow, iaf, nsf

__all__ = ["default_flow"]


def default_flow(input_dim: int) -> Flow:
    """Return an inverse autoregressive flow, or a spline flow of one dimension.

    Affine steps that depend on the other coordinates follow funnels and bends, whose tails a spline
    of a bounded interval misses; for one coordinate they are affine maps and nothing else.

    Args:
        input_dim: number ``D`` of inputs.

    Example:
        >>> default_flow(3)().event_shape
        torch.Size([3])
    """
    return nsf(input_dim) if input_dim == 1 else iaf(input_dim)
