"""A stack of layers that repeat."""

from collections.abc import Sequence

from torch import nn

from ..._numerics.periods import check_period
from .base import Compose, Transform

__all__ = ["Scan"]


class Scan(Compose):
    r"""Several transforms of one structure, applied from first to last, as in :class:`Compose`.

    The structures may also repeat with a period, as those of couplings with alternating masks do;
    layers behind the last whole period are allowed. Parameters keep their own values, and their
    names in a file are those of :class:`Compose`. Here the layers are a plain loop; in the JAX twin
    the period is one loop body, compiled once whatever the depth.

    Args:
        transforms: at least one transform; types, shapes and settings must repeat.

    Raises:
        ValueError: if nothing repeats.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions.transforms import Coupling
        >>> masks = ["alternate", "alternate_flipped"] * 4
        >>> Scan([Coupling(3, mask=mask) for mask in masks])(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, transforms: Sequence[Transform]):
        super().__init__(transforms)
        check_period([_structure(transform) for transform in self.transforms])


def _structure(module: nn.Module) -> set[tuple[str, str]]:
    """Return what makes two layers equal but for their parameters: pairs of name and value."""
    found = {(name, str(tuple(p.shape))) for name, p in module.state_dict().items()}
    for name, part in module.named_modules():
        found.add((name or "type", type(part).__name__))
        for key, value in vars(part).items():
            if not key.startswith("_") and key != "training":
                found.add((f"{name}.{key}".lstrip("."), repr(value)))
    return found
