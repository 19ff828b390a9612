"""The host's bound for models that do not broadcast over a plate of particles."""

import torch
from pyro.infer import Trace_ELBO

from .batching import guide_draws, log_joint

__all__ = ["MappedELBO"]


class MappedELBO(Trace_ELBO):
    """The pathwise evidence lower bound, the model run on its particles by ``torch.vmap``.

    Args:
        context: model and data.
        num_particles: number of draws of the guide.
    """

    def __init__(self, context, num_particles: int):
        super().__init__(num_particles=num_particles)
        self._context = context

    def differentiable_loss(self, model, guide, *args, **kwargs):
        """Return the negative bound, a tensor with gradients."""
        values, log_q = guide_draws(self._context, guide, self.num_particles)
        log_p, _ = log_joint(self._context, values)
        return (log_q - log_p).mean()

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        """Return the negative bound, its gradients left on the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()

    def loss(self, model, guide, *args, **kwargs) -> float:
        """Return the negative bound."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()
