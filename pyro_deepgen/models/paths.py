"""Ways and grids in the space of latent variables."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["interpolated", "unit_grid"]


def interpolated(z0: Tensor, z1: Tensor, num_steps: int, kind: str, event_dim: int = 1) -> Tensor:
    r"""Points on the way from ``z0`` to ``z1``.

    .. math:: z_t = \frac{\sin((1 - t)\omega)}{\sin \omega} z_0 + \frac{\sin(t \omega)}{\sin \omega}
        z_1, \qquad \omega = \angle(z_0, z_1)

    or linear; also where the angle is too small or too close to a half turn to tell the way.

    Args:
        z0: shape ``batch_shape + event_shape``.
        z1: the same shape.
        num_steps: number of points, both ends included.
        kind: ``'spherical'`` or ``'linear'``.
        event_dim: number of dimensions of one point.

    Returns:
        Shape ``(num_steps,) + batch_shape + event_shape``.

    References:
        Shoemake 1985, Animating rotation with quaternion curves; White 2016, Sampling generative
        networks, section 2.1.
    """
    a, b = z0.flatten(-event_dim), z1.flatten(-event_dim)
    t = torch.linspace(0.0, 1.0, num_steps, dtype=a.dtype, device=a.device)
    t = t.view((-1,) + (1,) * a.ndim)
    path = (1.0 - t) * a + t * b
    if kind == "spherical":
        norms = (a.square().sum(-1, keepdim=True) * b.square().sum(-1, keepdim=True)).sqrt()
        cosine = (a * b).sum(-1, keepdim=True) / norms.clamp(min=torch.finfo(a.dtype).tiny)
        turns = cosine.abs() < 1.0 - 1e-4
        omega = torch.where(turns, cosine, 0.0).acos()
        arc = (((1.0 - t) * omega).sin() * a + (t * omega).sin() * b) / omega.sin()
        path = torch.where(turns, arc, path)
    return path.reshape((num_steps, *z0.shape))


def unit_grid(num_per_axis: int) -> np.ndarray:
    """Midpoints of a grid of equal cells of the unit square, shape ``(n, n, 2)``."""
    line = (np.arange(num_per_axis) + 0.5) / num_per_axis
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1)
