"""Posteriors that ascend the bound from where the encoder puts them."""

import pyro
import torch
from pyro.distributions import Distribution
from torch import Tensor

from .._numerics.checks import check_positive, check_positive_int
from ..infer.refinement import clipped
from .base import ModelGuidePair, data_plate
from .variational_autoencoder import VariationalAutoencoder

__all__ = ["SemiAmortized"]


class SemiAmortized(ModelGuidePair):
    r"""An auto-encoder whose guide takes gradient steps for each datum.

    .. math::
        \lambda_0 = f(x), \qquad v_t = \rho v_{t-1} + \nabla_\lambda L(\lambda_{t-1}; x, \epsilon),
        \qquad \lambda_t = \lambda_{t-1} + \eta\, v_t

    :math:`\lambda` are the features that the encoder makes of a datum: the parameters of its
    posterior, or the context of its flow. ``L`` is the evidence lower bound, by the same noise in
    all steps of one call. Training moves the encoder by the gradient at the last step, taken for
    that at the first, or, with ``second_order``, by the derivative through all steps, which moves
    the decoder too. A trained pair can be wrapped for evaluation only: its bounds are then tighter.

    Args:
        pair: the auto-encoder; its networks are shared.
        num_steps: number of steps.
        step_size: :math:`\eta`, positive.
        momentum: :math:`\rho`, at least 0 and below 1.
        clip_norm: largest norm of the gradient of one datum, or None.
        num_particles: number of draws in each estimate of ``L``.
        second_order: whether derivatives go through the steps.

    Raises:
        TypeError: if ``pair`` is no :class:`VariationalAutoencoder`.
        ValueError: if a setting is out of range.

    Example:
        >>> import pyro, torch
        >>> from pyro.infer import SVI, Trace_ELBO
        >>> from pyro_deepgen.models import vae
        >>> pair = SemiAmortized(vae((8, 8), latent_dim=2, hidden_dims=(16,)), num_steps=3)
        >>> svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
        >>> loss = svi.step(torch.zeros(5, 8, 8), size=1000)
        >>> pair.encode(torch.zeros(5, 8, 8)).shape
        torch.Size([5, 2])

    References:
        Kim, Wiseman, Miller, Sontag & Rush 2018, Semi-amortized variational autoencoders, alg. 1.
    """

    def __init__(
        self,
        pair: VariationalAutoencoder,
        num_steps: int = 20,
        step_size: float = 0.1,
        momentum: float = 0.5,
        clip_norm: float | None = 5.0,
        num_particles: int = 1,
        second_order: bool = False,
    ):
        if not isinstance(pair, VariationalAutoencoder):
            raise TypeError(
                f"pair must be a VariationalAutoencoder, got {type(pair).__name__}; call "
                "infer.refine on the trained model and guide of other pairs."
            )
        super().__init__(pair.name)
        self.pair = pair
        self.num_steps = check_positive_int("num_steps", num_steps)
        self.step_size = check_positive("step_size", step_size)
        self.momentum = momentum if momentum == 0 else check_positive("momentum", momentum, 1.0)
        self.clip_norm = None if clip_norm is None else check_positive("clip_norm", clip_norm)
        self.num_particles = check_positive_int("num_particles", num_particles)
        self.second_order = bool(second_order)

    def bind(self, *parts: str) -> "SemiAmortized":
        self.pair.bind(*parts)
        return self

    def prior(self, context: Tensor | None = None) -> Distribution:
        return self.pair.prior(context)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        return self.pair.likelihood(z, context)

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """The posterior after the steps, by noise of a seed that the host's random state gives."""
        return self.pair.encoder.distribution(self._refined(x, context))

    def model(
        self, x: Tensor | None = None, context: Tensor | None = None, *, size: int | None = None
    ) -> Tensor:
        return self.pair.model(x, context, size=size)

    def guide(self, x: Tensor, context: Tensor | None = None, *, size: int | None = None) -> Tensor:
        pair = self.bind(*dict.fromkeys((*self.pair.guide_parts, *self.pair.model_parts)))
        with data_plate(x, context, size):
            return pyro.sample("z", pair.posterior(x, context))

    def _refined(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The features after the steps."""
        first = self.pair.encoder.features(x, context)
        seed = int(torch.randint(2**31, ()))
        through = self.second_order and torch.is_grad_enabled()
        start = first if through else first.detach()
        with torch.enable_grad():
            current, velocity = start, torch.zeros_like(start)
            for _ in range(self.num_steps):
                if not current.requires_grad:
                    current.requires_grad_()
                bound = self._bound(current, x, context, seed)
                (gradient,) = torch.autograd.grad(bound, current, create_graph=through)
                velocity = self.momentum * velocity + clipped(gradient, self.clip_norm, (-1,))
                current = current + self.step_size * velocity
                if not through:
                    current = current.detach()
        return current if through else first + (current - start).detach()

    def _bound(self, features: Tensor, x: Tensor, context: Tensor | None, seed: int) -> Tensor:
        """The sum of the bounds of all data, by noise from a seed."""
        posterior = self.pair.encoder.distribution(features)
        devices = [x.device] if x.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            z = posterior.rsample((self.num_particles,))
        log_joint = self.prior(context).log_prob(z) + self.likelihood(z, context).log_prob(x)
        return (log_joint - posterior.log_prob(z)).mean(0).sum()
