"""Ways and grids in the space of latent variables."""

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["interpolated", "unit_grid"]


def interpolated(z0: Array, z1: Array, num_steps: int, kind: str, event_dim: int = 1) -> Array:
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
    a, b = (z.reshape((*z.shape[: z.ndim - event_dim], -1)) for z in (z0, z1))
    t = jnp.linspace(0.0, 1.0, num_steps, dtype=a.dtype).reshape((-1,) + (1,) * a.ndim)
    path = (1.0 - t) * a + t * b
    if kind == "spherical":
        norms = jnp.sqrt(
            jnp.square(a).sum(-1, keepdims=True) * jnp.square(b).sum(-1, keepdims=True)
        )
        cosine = (a * b).sum(-1, keepdims=True) / jnp.maximum(norms, jnp.finfo(a.dtype).tiny)
        turns = jnp.abs(cosine) < 1.0 - 1e-4
        omega = jnp.arccos(jnp.where(turns, cosine, 0.0))
        arc = (jnp.sin((1.0 - t) * omega) * a + jnp.sin(t * omega) * b) / jnp.sin(omega)
        path = jnp.where(turns, arc, path)
    return path.reshape((num_steps, *z0.shape))


def unit_grid(num_per_axis: int) -> np.ndarray:
    """Midpoints of a grid of equal cells of the unit square, shape ``(n, n, 2)``."""
    line = (np.arange(num_per_axis) + 0.5) / num_per_axis
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1)
