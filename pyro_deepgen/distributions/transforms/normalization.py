"""Normalisation layers that are bijections of one point, in training and in evaluation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..._numerics.checks import check_event_shape, check_positive
from .elementwise import ElementwiseAffine

__all__ = ["ActNorm", "BatchNorm"]

MAX_START = 29.0
LOG_SCALE_BOUND = 30.0


class ActNorm(ElementwiseAffine):
    r"""A location-scale layer that starts by standardising a batch.

    It is :math:`y = e^{s} \odot x + t`. :meth:`initialize` sets ``t`` and ``s`` from a batch; else
    the first call in training mode with two points or more does so, in its own direction: the
    images (or, for an inverse, the preimages) of that batch have mean 0 and standard deviation 1.
    From then on it is an ordinary learned layer. In evaluation mode it is the identity until set.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.

    Example:
        >>> import torch
        >>> layer = ActNorm(1).initialize(torch.tensor([[1.0], [3.0]]))
        >>> layer(torch.tensor([2.0])).tolist()
        [0.0]

    References:
        Kingma & Dhariwal 2018, Glow, section 3.1.
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
    ):
        super().__init__(input_dim, context_dim, hidden_dims, activation)
        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def initialize(
        self, x: Tensor, context: Tensor | None = None, inverse: bool = False
    ) -> "ActNorm":
        """Set the layer so that a batch comes out standardised, and return it.

        Args:
            x: two points or more, ``batch_shape + (D,)``.
            context: not used; the network of the context starts at zero.
            inverse: whether the batch goes through the inverse direction.

        Raises:
            ValueError: if there are fewer than two points.
        """
        mean, std = batch_statistics(x, self.input_dim)
        log_scale = std.clamp(min=torch.finfo(std.dtype).tiny).log()
        log_scale = log_scale.clamp(-MAX_START, MAX_START)
        if not inverse:
            log_scale, mean = -log_scale, -mean * (-log_scale).exp()
        raw = LOG_SCALE_BOUND * torch.atanh(log_scale / LOG_SCALE_BOUND)
        self.parameter_net.bias.copy_(torch.cat([mean, raw]))
        self.initialized.fill_(True)
        return self

    def _start(self, point: Tensor, inverse: bool) -> None:
        if not self.training or torch.compiler.is_compiling() or bool(self.initialized):
            return
        if point.numel() >= 2 * self.input_dim:
            self.initialize(point, inverse=inverse)

    def forward_and_log_det(self, x, context=None):
        self._start(x, inverse=False)
        return super().forward_and_log_det(x, context)

    def inverse_and_log_det(self, y, context=None):
        self._start(y, inverse=True)
        return super().inverse_and_log_det(y, context)


class BatchNorm(ElementwiseAffine):
    r"""Standardisation by stored statistics, then a location-scale layer.

    .. math:: y = e^{s} \odot (x - m) / \sqrt{\max(v, \epsilon)} + t.

    The mean ``m`` and variance ``v`` are buffers that change in :meth:`update` alone, so that the
    transform is one bijection, of one point, in training and in evaluation: forward and inverse
    agree, and the log-determinant is that of the map applied. Call ``update`` once a training step
    with the batch that enters the layer; no gradient passes through the statistics.

    Args:
        input_dim: number ``D`` of inputs.
        context_dim: size of the context, 0 for none.
        hidden_dims: hidden widths of the network of the context.
        activation: its activation.
        epsilon: least variance to divide by, positive.

    Example:
        >>> import torch
        >>> layer = BatchNorm(1).update(torch.tensor([[1.0], [3.0]]), momentum=1.0)
        >>> layer(torch.tensor([2.0])).tolist()
        [0.0]

    References:
        Dinh et al. 2017, Density estimation using Real NVP, section 3.7.
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        activation: str | Callable = "silu",
        epsilon: float = 1e-5,
    ):
        super().__init__(input_dim, context_dim, hidden_dims, activation)
        self.epsilon = check_positive("epsilon", epsilon)
        self.register_buffer("mean", torch.zeros(self.input_dim))
        self.register_buffer("variance", torch.ones(self.input_dim))

    @torch.no_grad()
    def update(self, x: Tensor, momentum: float = 0.1) -> "BatchNorm":
        """Move the statistics towards those of a batch, and return the layer.

        Args:
            x: two points or more, ``batch_shape + (D,)``.
            momentum: share of the batch, in ``(0, 1]``; 1 replaces the statistics.

        Raises:
            ValueError: if there are fewer than two points, or momentum is outside its range.
        """
        if momentum != 1:
            check_positive("momentum", momentum, upper=1.0)
        mean, std = batch_statistics(x, self.input_dim)
        self.mean.lerp_(mean.to(self.mean), momentum)
        self.variance.lerp_(std.square().to(self.variance), momentum)
        return self

    def forward_and_log_det(self, x, context=None):
        variance = self.variance.clamp(min=self.epsilon)
        y, log_det = super().forward_and_log_det((x - self.mean) * variance.rsqrt(), context)
        return y, log_det - 0.5 * variance.log().sum()

    def inverse_and_log_det(self, y, context=None):
        variance = self.variance.clamp(min=self.epsilon)
        x, log_det = super().inverse_and_log_det(y, context)
        return x * variance.sqrt() + self.mean, log_det + 0.5 * variance.log().sum()


def batch_statistics(x: Tensor, input_dim: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over all leading dimensions, both ``(D,)``."""
    check_event_shape("x", x.shape, input_dim)
    flat = x.reshape(-1, input_dim)
    if flat.shape[0] < 2:
        raise ValueError(
            f"x must hold at least two points to take statistics of, got {flat.shape[0]}; "
            "pass a larger batch."
        )
    return flat.mean(0), flat.std(0, correction=0)
