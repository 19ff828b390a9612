"""Block neural autoregressive transforms."""

from collections.abc import Sequence

from jax import Array

from ...nn import BlockDense
from ._implicit import triangular_inverse
from .base import Transform

__all__ = ["BlockNeuralAutoregressive"]


class BlockNeuralAutoregressive(Transform):
    r"""The transform :math:`y_i = x_i + \alpha_i f_i(x_{\le i}, c)`, increasing in its own input.

    One network gives all outputs, a :class:`~numpyro_deepgen.nn.BlockDense`: masked weights,
    positive in the blocks of one input, and activations onto the line, so that the transform is
    too. The forward direction is one parallel pass. The inverse visits the inputs in order, one
    scalar root each, and computes the hidden units of each block once; its derivatives are
    implicit, of any order. Starts as the identity.

    Args:
        rng_key: random key of the network.
        input_dim: number ``D`` of inputs; 1 is allowed.
        hidden_dims: hidden units of *each input*, layer by layer.
        context_dim: size of the context, 0 for none. The context enters the first layer.
        order: ``'natural'``, ``'reversed'`` or the inputs in the order in which they are visited.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> BlockNeuralAutoregressive(jax.random.key(0), 3).inv(jnp.ones(3)).tolist()
        [1.0, 1.0, 1.0]

    References:
        De Cao et al. 2019, Block Neural Autoregressive Flow, section 3.
    """

    fast = "forward"

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        hidden_dims: Sequence[int] = (8, 8),
        context_dim: int = 0,
        order: str | Sequence[int] = "natural",
    ):
        super().__init__(input_dim, context_dim)
        self.network = BlockDense(rng_key, input_dim, hidden_dims, context_dim, order)

    def forward_and_log_det(self, x, context=None):
        y, log_det = self.network(x, context)
        return y, log_det.sum(-1)

    def inverse_and_log_det(self, y, context=None):
        return triangular_inverse(_solve, _image, self, y, context)


def _image(transform: BlockNeuralAutoregressive, x: Array, context: Array | None):
    return transform.network(x, context)


def _solve(transform: BlockNeuralAutoregressive, y: Array, context: Array | None):
    return transform.network.solve(y, context)
