"""How the host follows an evaluation: in plain steps, or through one of its transformations."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["is_batched", "is_eager"]


def is_eager() -> bool:
    """Whether no transformation but reverse differentiation follows the evaluation."""
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


def is_batched(tensor: Tensor) -> bool:
    """Whether a transformation runs over the backward pass, as vectorised Jacobians do."""
    batched = torch._C._functorch.is_legacy_batchedtensor(tensor)
    return batched or torch._C._are_functorch_transforms_active()
