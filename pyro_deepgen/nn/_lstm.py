"""The cell of recurrent networks."""

import torch
from torch import Tensor

__all__ = ["lstm_cell"]


def lstm_cell(sums: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return state and memory from the sums of all gates, ``(..., 4 h)``, and the memory."""
    output, forget, write, value = sums.chunk(4, -1)
    memory = torch.sigmoid(forget) * memory + torch.sigmoid(write) * torch.tanh(value)
    return torch.sigmoid(output) * torch.tanh(memory), memory
