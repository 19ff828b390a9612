r"""The unconstrained space of a model's continuous latent sites, as one flat vector.

.. math::
    z \in R^D \mapsto \theta = b(z), \qquad
    \log p(z) = \log p(x, b(z)) + \log |\det \partial b / \partial z|.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import Transform

from .arguments import check_holds

__all__ = ["LatentSpace", "UnconstrainedDensity"]


@dataclass(frozen=True)
class _Site:
    name: str
    transform: Transform
    shape: tuple[int, ...]
    start: int
    stop: int


class LatentSpace:
    """Maps between flat unconstrained vectors and dictionaries of constrained site values.

    Args:
        trace: a trace of the model.
        init_locs: unconstrained values of the latent sites, in the order of the flat vector.

    Attributes:
        dim: length ``D`` of the flat vector.
    """

    def __init__(self, trace: dict, init_locs: dict[str, Array]):
        self.sites: list[_Site] = []
        start = 0
        for name, value in init_locs.items():
            transform = biject_to(trace[name]["fn"].support)
            stop = start + math.prod(jnp.shape(value))
            self.sites.append(_Site(name, transform, jnp.shape(value), start, stop))
            start = stop
        self.dim = start

    def unpack(self, z: Array) -> dict[str, Array]:
        """Return unconstrained site values of shape ``z.shape[:-1] + site shape``."""
        leading = z.shape[:-1]
        return {
            site.name: z[..., site.start : site.stop].reshape(leading + site.shape)
            for site in self.sites
        }

    def constrain(self, z: Array) -> tuple[dict[str, Array], Array]:
        """Return site values of shape ``z.shape[:-1] + site shape``, and the log-determinant."""
        values, total, leading = {}, jnp.zeros(z.shape[:-1], z.dtype), z.shape[:-1]
        unpacked = self.unpack(z)
        for site in self.sites:
            x = unpacked[site.name]
            values[site.name] = y = site.transform(x)
            log_det = site.transform.log_abs_det_jacobian(x, y)
            total = total + log_det.reshape(leading + (-1,)).sum(-1)
        return values, total

    def unconstrain(self, values: dict[str, Array]) -> tuple[Array, Array]:
        """Return the flat vectors of site values, and the log-determinant of :meth:`constrain`.

        Raises:
            ValueError: if a site is missing.
        """
        check_holds(values, [site.name for site in self.sites])
        parts = []
        for site in self.sites:
            x = site.transform._inverse(values[site.name])
            parts.append(x.reshape(x.shape[: x.ndim - len(site.shape)] + (-1,)))
        z = jnp.concatenate(parts, -1)
        return z, self.constrain(z)[1]


class UnconstrainedDensity:
    """The unnormalised log posterior density over flat unconstrained vectors.

    Args:
        potential_fn: the host's potential energy of a dictionary of unconstrained values.
        space: the model's latent space.
    """

    def __init__(self, potential_fn: Callable, space: LatentSpace):
        self.potential_fn, self.space = potential_fn, space

    def __call__(self, z: Array) -> Array:
        """Return the log density of one vector, shape ``()`` for ``z`` of shape ``(D,)``."""
        return -self.potential_fn(self.space.unpack(z))

    def batch(self, z: Array) -> Array:
        """Return the log densities of ``N`` vectors, shape ``(N,)`` for ``(N, D)``."""
        return jax.vmap(self)(z)
