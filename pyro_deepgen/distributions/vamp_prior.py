"""The mixture of the posteriors of learned pseudo-inputs."""

from collections.abc import Callable, Sequence

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int

__all__ = ["VampPrior"]


class VampPrior(nn.Module):
    r"""A mixture of what an encoder makes of ``K`` learned pseudo-inputs.

    .. math:: p(z) = \frac1K \sum_k q(z \mid u_k)

    The encoder is an argument of the call: it is that of the guide, with its parameters. The
    components are computed once a call, whatever the number of data and particles. With a context,
    they are those of each context, at the cost of ``K`` encodings for each datum.

    Args:
        num_components: number ``K`` of pseudo-inputs.
        input_shape: shape of one of them.
        input_range: limits of their entries, which are then a logistic function of what is
            learned, or None.
        init: data to start from, shape ``(K,) + input_shape``, default draws of a standard normal
            before the limits.

    Raises:
        ValueError: if ``init`` has another shape.

    Example:
        >>> import torch
        >>> from pyro_deepgen.models import vae
        >>> prior = VampPrior(20, (8, 8), input_range=(0.0, 1.0))
        >>> vae((8, 8), latent_dim=3, prior=prior).prior().event_shape
        torch.Size([3])

    References:
        Tomczak & Welling 2018, VAE with a VampPrior, eq. 9.
    """

    def __init__(
        self,
        num_components: int,
        input_shape: Sequence[int],
        input_range: tuple[float, float] | None = (0.0, 1.0),
        init: Tensor | None = None,
    ):
        super().__init__()
        shape = (
            check_positive_int("num_components", num_components),
            *check_dims("input_shape", input_shape),
        )
        self.input_range = input_range
        if init is None:
            init = torch.randn(shape)
        elif tuple(init.shape) != shape:
            raise ValueError(
                f"init must have shape {shape}, got {tuple(init.shape)}; pass as many data."
            )
        elif input_range is not None:
            low, high = input_range
            # inside, where the derivative is not zero
            init = torch.logit((init - low) / (high - low), eps=0.02)
        self.raw_inputs = nn.Parameter(init.detach().clone())

    def inputs(self) -> Tensor:
        """The pseudo-inputs."""
        if self.input_range is None:
            return self.raw_inputs
        low, high = self.input_range
        return low + (high - low) * self.raw_inputs.sigmoid()

    def forward(self, encoder: Callable, context: Tensor | None = None) -> Distribution:
        inputs = self.inputs()
        if context is None:
            components = encoder(inputs)
        else:
            components = encoder(inputs, context.unsqueeze(-2))
        logits = inputs.new_zeros(components.batch_shape)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)
