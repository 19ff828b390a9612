"""How the weights of dense networks start."""

import torch
from torch import Tensor, nn

__all__ = ["initialize"]


@torch.no_grad()
def initialize(layer: nn.Linear, follows_activation: bool, fan_in: Tensor | None = None) -> None:
    r"""Draw weights and biases uniformly, in :math:`\pm 1 / \sqrt{n}`, ``n`` inputs a unit.

    Weights behind an activation get the variance :math:`1 / n`, a factor :math:`\sqrt 3` more:
    activations shrink a signal, and where several layers do so a network starts as a linear one.

    Args:
        layer: layer to fill.
        follows_activation: whether its inputs are activations of hidden units.
        fan_in: number ``n`` of inputs of each unit, ``(output_dim,)``, where a mask hides some.
    """
    if fan_in is None:
        fan_in = torch.full(layer.weight.shape[:1], layer.weight.shape[1])
    bound = fan_in.clamp(min=1).to(layer.weight).rsqrt()
    factor = 3.0**0.5 if follows_activation else 1.0
    layer.weight.uniform_(-1.0, 1.0).mul_(factor * bound[:, None])
    if layer.bias is not None:
        layer.bias.uniform_(-1.0, 1.0).mul_(bound)
