r"""The unconstrained space of a model's continuous latent sites, as one flat vector.

.. math::
    z \in R^D \mapsto \theta = b(z), \qquad
    \log p(z) = \log p(x, b(z)) + \log |\det \partial b / \partial z|.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import Transform

__all__ = ["LatentSpace", "UnconstrainedDensity"]


@dataclass(frozen=True)
class _Site:
    name: str
    transform: Transform
    shape: torch.Size
    start: int
    stop: int


class LatentSpace:
    """Maps between flat unconstrained vectors and dictionaries of constrained site values.

    Args:
        trace: a trace of the model.

    Attributes:
        dim: length ``D`` of the flat vector.
    """

    def __init__(self, trace: poutine.Trace):
        self.sites: list[_Site] = []
        start = 0
        for name, site in trace.iter_stochastic_nodes():
            transform = biject_to(site["fn"].support)
            shape = transform.inv(site["value"]).shape
            self.sites.append(_Site(name, transform, shape, start, start + shape.numel()))
            start += shape.numel()
        self.dim = start

    def constrain(self, z: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return site values of shape ``z.shape[:-1] + site shape``, and the log-determinant."""
        values, total, leading = {}, z.new_zeros(z.shape[:-1]), z.shape[:-1]
        for site in self.sites:
            x = z[..., site.start : site.stop].reshape(leading + site.shape)
            values[site.name] = y = site.transform(x)
            log_det = site.transform.log_abs_det_jacobian(x, y)
            total = total + log_det.reshape(leading + (-1,)).sum(-1)
        return values, total

    def unconstrain(self, values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the flat vectors of site values, and the log-determinant of :meth:`constrain`.

        Raises:
            ValueError: if a site is missing.
        """
        parts = []
        for site in self.sites:
            if site.name not in values:
                raise ValueError(
                    f"samples must hold every latent site, got {sorted(values)} without "
                    f"{site.name!r}; add its values."
                )
            x = site.transform.inv(values[site.name])
            parts.append(x.reshape(x.shape[: x.dim() - len(site.shape)] + (-1,)))
        z = torch.cat(parts, -1)
        return z, self.constrain(z)[1]


class UnconstrainedDensity:
    """The unnormalised log posterior density over flat unconstrained vectors.

    Args:
        model: the Pyro model.
        space: its latent space.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
    """

    def __init__(self, model: Callable, space: LatentSpace, args: tuple, kwargs: dict):
        self.model, self.space, self.args, self.kwargs = model, space, args, kwargs
        self._vectorizes: bool | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Return the log density of one vector, shape ``()`` for ``z`` of shape ``(D,)``."""
        values, log_det = self.space.constrain(z)
        # a point may leave the support numerically: that is a density of NaN, not an exception
        with poutine.block(), pyro.validation_enabled(False):
            conditioned = poutine.condition(self.model, data=values)
            trace = poutine.trace(conditioned).get_trace(*self.args, **self.kwargs)
            return trace.log_prob_sum() + log_det

    def batch(self, z: Tensor) -> Tensor:
        """Return the log densities of ``N`` vectors, shape ``(N,)`` for ``(N, D)``.

        The model is vectorised by ``torch.vmap`` if that gives the same values, else looped over.
        """
        if self._vectorizes is None:
            self._vectorizes = self._check_vectorized(z[:2].detach())
        if self._vectorizes:
            return self._vmapped(z)
        return torch.stack([self(row) for row in z])

    def _vmapped(self, z: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch names operators without a batching rule
            return torch.vmap(self, randomness="same")(z)

    def _check_vectorized(self, z: Tensor) -> bool:
        expected = torch.stack([self(row) for row in z]).detach()
        try:
            found = self._vmapped(z).detach()
        except Exception:  # whatever the model does that vmap cannot follow
            return False
        return torch.allclose(found, expected, rtol=1e-3, atol=1e-3, equal_nan=True)
