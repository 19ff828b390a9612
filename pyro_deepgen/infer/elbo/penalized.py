"""Penalties on parameters beside a bound."""

from collections.abc import Callable

import torch
from pyro.infer import ELBO
from torch import Tensor, nn

__all__ = ["PenalizedELBO", "spectral_penalty"]

NUM_ITERATIONS = 8


class PenalizedELBO(ELBO):
    r"""A bound minus a penalty on parameters: the loss is :math:`-L + w R(\theta)`.

    Evaluations are of the bound alone: :attr:`evaluation`, and ``loss``.

    Args:
        elbo: bound of the host or of this package, whose steps need no other arguments.
        penalty: function without arguments that returns the penalty :math:`R`.
        weight: its weight :math:`w`, at least 0; with ``size=`` the bound is of all data.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro.infer import Trace_ELBO
        >>> def model():
        ...     pyro.sample("z", dist.Delta(torch.tensor(0.0)))
        >>> penalty = lambda: torch.tensor(3.0)
        >>> elbo = PenalizedELBO(Trace_ELBO(), penalty, 2.0)
        >>> elbo.differentiable_loss(model, model).item()
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

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        """Return the penalised loss as a tensor to differentiate."""
        loss = self.elbo.differentiable_loss(model, guide, *args, **kwargs)
        return loss + self.weight * self.penalty()

    @torch.no_grad()
    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Return the negative bound itself."""
        return self.evaluation.loss(model, guide, *args, **kwargs)

    def loss_and_grads(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Return the penalised loss, and leave its gradients on the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward(retain_graph=self.retain_graph)
        return loss.item()

    def _get_trace(self, *args) -> tuple:
        return self.elbo._get_trace(*args)


def spectral_penalty(parameters: nn.Module) -> Tensor:
    r"""Return the sum of the largest singular values of all weights, as matrices of the outputs.

    .. math:: R(\theta) = \sum_i s_i, \qquad s_i = \max_{u, v} \frac{u^T W_i v}{|u| |v|}

    They are found by power iteration without a state; the gradient takes the vectors as given.

    Args:
        parameters: module whose parameters of two dimensions and more are meant.

    Example:
        >>> import torch
        >>> spectral_penalty(torch.nn.Linear(2, 2)).item() > 0
        True

    References:
        Vahdat & Kautz 2020, NVAE: a deep hierarchical variational autoencoder, eq. 4.
    """
    weights = [weight for weight in parameters.parameters() if weight.dim() > 1]
    return sum(_largest_singular_value(weight.flatten(1)) for weight in weights)


def _largest_singular_value(matrix: Tensor) -> Tensor:
    fixed = matrix.detach()
    v = fixed.abs().sum(0) + 1e-12
    for _ in range(NUM_ITERATIONS):
        u = nn.functional.normalize(fixed @ v, dim=0)
        v = nn.functional.normalize(fixed.T @ u, dim=0)
    return u @ (matrix @ v)
