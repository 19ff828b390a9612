"""Penalties on parameters beside a bound."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from numpyro.infer.elbo import ELBO

__all__ = ["PenalizedELBO", "spectral_penalty"]

NUM_ITERATIONS = 8


class PenalizedELBO(ELBO):
    r"""A bound minus a penalty on parameters: the loss is :math:`-L + w R(\theta)`.

    Evaluations are of the bound alone: :attr:`evaluation`.

    Args:
        elbo: bound of the host or of this package, whose steps need no other arguments.
        penalty: function of the parameters by name that returns the penalty :math:`R`.
        weight: its weight :math:`w`, at least 0; with ``size=`` the bound is of all data.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro.infer import Trace_ELBO
        >>> def model():
        ...     numpyro.sample("z", dist.Normal(0.0, 1.0))
        >>> elbo = PenalizedELBO(Trace_ELBO(), lambda params: 3.0, 2.0)
        >>> elbo.loss(random.key(0), {}, model, model).item()
        6.0
    """

    def __init__(self, elbo: ELBO, penalty: Callable, weight: float = 1.0):
        if not isinstance(elbo, ELBO):
            raise TypeError(f"elbo must be an ELBO of the host, got {elbo!r}; pass BetaELBO().")
        super().__init__(num_particles=elbo.num_particles)
        self.elbo, self.penalty, self.weight = elbo, penalty, float(weight)

    @property
    def evaluation(self) -> ELBO:
        """The bound itself."""
        return getattr(self.elbo, "evaluation", self.elbo)

    def loss_with_mutable_state(
        self,
        rng_key: Array,
        param_map: dict,
        model: Callable,
        guide: Callable,
        *args,
        **kwargs,
    ) -> dict:
        """Return the penalised loss, and the mutable state or None."""
        found = self.elbo.loss_with_mutable_state(rng_key, param_map, model, guide, *args, **kwargs)
        loss = found["loss"] + self.weight * self.penalty(param_map)
        return dict(found, loss=loss)


def spectral_penalty(parameters) -> Array:
    r"""Return the sum of the largest singular values of all weights, as matrices of the outputs.

    .. math:: R(\theta) = \sum_i s_i, \qquad s_i = \max_{u, v} \frac{u^T W_i v}{|u| |v|}

    They are found by power iteration without a state; the gradient takes the vectors as given.

    Args:
        parameters: arrays of which those of two dimensions and more are meant: parameters by name,
            or a module.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(spectral_penalty({"weight": 3.0 * jnp.eye(4)})), 3)
        3.0

    References:
        Vahdat & Kautz 2020, NVAE: a deep hierarchical variational autoencoder, eq. 4.
    """
    weights = [leaf for leaf in jax.tree.leaves(parameters) if getattr(leaf, "ndim", 0) > 1]
    return sum(_largest_singular_value(weight.reshape(len(weight), -1)) for weight in weights)


def _largest_singular_value(matrix: Array) -> Array:
    fixed = lax.stop_gradient(matrix)
    v = jnp.abs(fixed).sum(0) + 1e-12
    for _ in range(NUM_ITERATIONS):
        u = _unit(fixed @ v)
        v = _unit(fixed.T @ u)
    return u @ (matrix @ v)


def _unit(v: Array) -> Array:
    return v / jnp.maximum(jnp.linalg.norm(v), 1e-12)
