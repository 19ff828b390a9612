"""A stack of equal layers."""

from collections.abc import Sequence

from torch import nn

from .base import Compose, Transform

__all__ = ["Scan"]


class Scan(Compose):
    r"""Several transforms of one structure, applied from first to last, as in :class:`Compose`.

    Parameters keep their own values, and their names in a file are those of :class:`Compose`. Here
    the layers are a plain loop; in the JAX twin they are one loop body, compiled once whatever the
    depth. To alternate orders or masks, make each layer a :class:`Compose` of one period.

    Args:
        transforms: at least one transform; all of equal types, shapes and settings.

    Raises:
        ValueError: if the structures differ.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions.transforms import Coupling, Flip
        >>> layers = [Compose([Coupling(3), Flip(3)]) for _ in range(4)]
        >>> Scan(layers)(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, transforms: Sequence[Transform]):
        super().__init__(transforms)
        for i, transform in enumerate(self.transforms):
            found, expected = _structure(transform), _structure(self.transforms[0])
            if found != expected:
                differing = sorted({name for name, _ in found ^ expected})
                raise ValueError(
                    "transforms must have one structure, got a difference between number 0 and "
                    f"number {i} in {', '.join(differing)}; use Compose, or make each one a "
                    "Compose of one period."
                )


def _structure(module: nn.Module) -> set[tuple[str, str]]:
    """Return what makes two layers equal but for their parameters: pairs of name and value."""
    found = {(name, str(tuple(p.shape))) for name, p in module.state_dict().items()}
    for name, part in module.named_modules():
        found.add((name or "type", type(part).__name__))
        for key, value in vars(part).items():
            if not key.startswith("_") and key != "training":
                found.add((f"{name}.{key}".lstrip("."), repr(value)))
    return found
