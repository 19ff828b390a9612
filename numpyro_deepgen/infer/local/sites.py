r"""The local latent sites of a data plate, as one unconstrained vector for each datum.

.. math::
    u_n \in R^D \mapsto z_n = b(u_n), \qquad n = 1, \ldots, B.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import Transform

from ..arguments import check_holds

__all__ = ["LocalSite", "PlateSpace"]


@dataclass(frozen=True)
class LocalSite:
    """A latent site inside a data plate.

    Attributes:
        name: of the site.
        transform: from the unconstrained to the constrained values.
        event_dim: of the constrained values.
        left: sizes of the unconstrained values left of the axis of the data.
        right: those right of it.
        start: where the site begins in the vector of a datum.
        stop: where it ends.
        frames: all plates that the site lies in.
    """

    name: str
    transform: Transform
    event_dim: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    start: int
    stop: int
    frames: tuple


class PlateSpace:
    """Maps between vectors of each datum and values of the sites of one data plate.

    Args:
        frame: the plate, from the stack of one of its sites.
        full_size: number of data.
        sites: sites of a trace of the model that lie in it.

    Attributes:
        dim: length ``D`` of the vector of a datum.
        loc: mean of the vectors over the data of the trace, shape ``(D,)``.
    """

    def __init__(self, frame, full_size: int, sites: list[dict]):
        self.name, self.axis, self.full_size = frame.name, frame.dim, full_size
        self.sites: list[LocalSite] = []
        locs, start = [], 0
        for site in sites:
            transform, event_dim = biject_to(site["fn"].support), site["fn"].event_dim
            x = transform._inverse(site["value"])
            axis = frame.dim - (event_dim + x.ndim - jnp.ndim(site["value"]))
            left, right = x.shape[:axis], x.shape[x.ndim + axis + 1 :]
            locs.append(jnp.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).mean(0))
            stop = start + len(locs[-1])
            frames = tuple(site["cond_indep_stack"])
            self.sites.append(
                LocalSite(site["name"], transform, event_dim, left, right, start, stop, frames)
            )
            start = stop
        self.dim, self.loc = start, jnp.concatenate(locs)

    @property
    def num_ones(self) -> int:
        """Number of dimensions between those of the data and of the vectors."""
        return -self.axis - 1

    def align(self, rows: Array) -> Array:
        """Rows of shape ``(B,) + shape`` with dimensions of size one after the first."""
        return rows.reshape(rows.shape[:1] + (1,) * self.num_ones + rows.shape[1:])

    def unpack(self, u: Array, squeeze: bool) -> Iterator[tuple[LocalSite, Array, Array]]:
        """Yield sites, their values and the log-determinants of their transforms.

        Args:
            u: vectors, shape ``leading + (B, 1, ..., 1, D)``.
            squeeze: whether ``leading`` ends with the plates left of the data's, of size one.

        Yields:
            Values of shape ``leading + site shape``; log-determinants without the site's event.
        """
        leading, rows = u.shape[: u.ndim - self.num_ones - 2], u.shape[-self.num_ones - 2]
        for site in self.sites:
            x = u[..., site.start : site.stop]
            x = x.reshape(leading + (rows,) + site.left + site.right)
            # the data go behind the plates left of them
            x = jnp.moveaxis(x, len(leading), len(leading) + len(site.left))
            if squeeze:
                kept = leading[: max(len(leading) - len(site.left), 0)]
                x = x.reshape(kept + x.shape[len(leading) :])
            y = site.transform(x)
            log_det = site.transform.log_abs_det_jacobian(x, y)
            batch_dim = y.ndim - site.event_dim
            yield site, y, log_det.reshape(log_det.shape[:batch_dim] + (-1,)).sum(-1)

    def constrain(self, u: Array) -> tuple[dict[str, Array], Array]:
        """Return site values of draws, shape ``sample_shape + site shape``, and log-determinants.

        Args:
            u: shape ``sample_shape + (R, D)``.
        """
        leading = u.shape[:-2]
        u = u.reshape(u.shape[:-1] + (1,) * self.num_ones + u.shape[-1:])
        values, total = {}, jnp.zeros(leading, u.dtype)
        for site, value, log_det in self.unpack(u, squeeze=False):
            values[site.name] = value
            total = total + log_det.reshape(leading + (-1,)).sum(-1)
        return values, total

    def unconstrain(self, values: dict[str, Array]) -> tuple[Array, Array]:
        """Return vectors, ``sample_shape + (R, D)``, and the log-determinants of the inverse's map.

        Raises:
            ValueError: if a site is missing.
        """
        check_holds(values, [site.name for site in self.sites])
        parts = []
        for site in self.sites:
            x = site.transform._inverse(jnp.asarray(values[site.name]))
            axis = x.ndim - len(site.right) - 1
            x = jnp.moveaxis(x, axis, axis - len(site.left))
            keep = axis - len(site.left) + 1
            parts.append(x.reshape(x.shape[:keep] + (-1,)))
        u = jnp.concatenate(parts, -1)
        return u, self.constrain(u)[1]
