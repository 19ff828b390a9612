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

from ._enumeration import enumerated_log_joint
from ._random_state import unmoved_random_state
from .arguments import check_holds

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
        check_holds(values, [site.name for site in self.sites])
        parts = []
        for site in self.sites:
            x = site.transform.inv(values[site.name])
            parts.append(x.reshape(x.shape[: x.dim() - len(site.shape)] + (-1,)))
        z = torch.cat(parts, -1)
        return z, self.constrain(z)[1]


class UnconstrainedDensity:
    """The unnormalised log posterior density over flat unconstrained vectors.

    Latent sites that the model hides (``poutine.block``) are drawn from the prior, the same values
    every time.

    Args:
        model: the Pyro model.
        space: its latent space.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        nesting: depth of the plates if sites marked for enumeration are to be summed out, or None.
    """

    def __init__(
        self,
        model: Callable,
        space: LatentSpace,
        args: tuple,
        kwargs: dict,
        nesting: int | None = None,
    ):
        self.model, self.space, self.args, self.kwargs = model, space, args, kwargs
        self.nesting = nesting
        self._vectorizes: bool | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Return the log density of one vector, shape ``()`` for ``z`` of shape ``(D,)``."""
        values, log_det = self.space.constrain(z)
        # a point may leave the support numerically: that is a density of NaN, not an exception
        with poutine.block(), pyro.validation_enabled(False), unmoved_random_state():
            torch.manual_seed(0)
            return self._log_joint(poutine.condition(self.model, data=values)) + log_det

    def _log_joint(self, model: Callable) -> Tensor:
        if self.nesting is not None:
            return enumerated_log_joint(model, self.nesting, self.args, self.kwargs)
        return poutine.trace(model).get_trace(*self.args, **self.kwargs).log_prob_sum()

    def batch(self, z: Tensor) -> Tensor:
        """Return the log densities of ``N`` vectors, shape ``(N,)`` for ``(N, D)``.

        The model is vectorised by ``torch.vmap`` if that gives the same values, else looped over.
        """
        if self._vectorizes is None:
            self._vectorizes = self._check_vectorized(z[:2].detach())
        if self._vectorizes:
            return self._vmapped(z)
        return torch.stack([self(row) for row in z])

    def vectorizes(self, z: Tensor) -> bool:
        """Whether ``torch.vmap`` gives the values of single vectors, tried near ``z``, ``(D,)``."""
        if self._vectorizes is None:
            self._vectorizes = self._check_vectorized(torch.stack([z, z + 0.01]).detach())
        return self._vectorizes

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
