"""Integrals of a positive network as elementwise maps."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..._numerics.checks import check_positive, check_positive_int
from ...nn import Dense
from .integral import IntegralMap

__all__ = ["UnconstrainedMonotonicMap"]

MIN_SLOPE = 1e-3
# softplus(SLOPE_SHIFT) + MIN_SLOPE == 1: a network that gives zero gives the identity
SLOPE_SHIFT = math.log(math.expm1(1.0 - MIN_SLOPE))


class UnconstrainedMonotonicMap(nn.Module, IntegralMap):
    r"""The map :math:`y = b + \int_0^x g(t, h) \, dt` with a positive network ``g``.

    The network is a part of the map, shared by all inputs; the parameters of an input are ``b`` and
    an embedding ``h``. The slope is constant beyond ``|t| > bound``. Closed form forward up to the
    error of the quadrature, numerical inverse; starts as the identity. The network ends on a
    softplus, which is smooth, so that the error falls geometrically with the number of nodes:
    about 1e-9 for 16 where the paper's elu + 1, whose curvature jumps, gives about 1e-3.

    Args:
        embedding_dim: length of ``h``; the map has one parameter more.
        hidden_dims: hidden widths of the network.
        num_nodes: nodes of the Gauss-Legendre quadrature, at least 2.
        bound: half-width of the interval where the slope varies, positive.
        activation: activation of the network, a smooth one.

    Example:
        >>> import torch
        >>> from pyro_deepgen.distributions.transforms import MaskedAutoregressive
        >>> MaskedAutoregressive(3, UnconstrainedMonotonicMap(4))(torch.ones(5, 3)).shape
        torch.Size([5, 3])

    References:
        Wehenkel & Louppe 2019, Unconstrained Monotonic Neural Networks, equations 1 and 6.
    """

    def __init__(
        self,
        embedding_dim: int = 8,
        hidden_dims: Sequence[int] = (32, 32),
        num_nodes: int = 16,
        bound: float = 5.0,
        activation: str | Callable = "silu",
    ):
        super().__init__()
        self.embedding_dim = check_positive_int("embedding_dim", embedding_dim)
        self.num_nodes = check_positive_int("num_nodes", num_nodes, minimum=2)
        self.bound = check_positive("bound", bound)
        self._set_rule()
        self.network = Dense(1 + self.embedding_dim, 1, hidden_dims, activation, zero_init=True)

    @property
    def num_params(self) -> int:
        return 1 + self.embedding_dim

    def slope(self, t: Tensor, params: Tensor) -> Tensor:
        embedding = params.mT.unsqueeze(-3)
        shape = torch.broadcast_shapes(t.shape, embedding.shape[:-1])
        inputs = [t.expand(shape).unsqueeze(-1), embedding.expand(shape + embedding.shape[-1:])]
        value = self.network(torch.cat(inputs, -1)).squeeze(-1)
        return softplus(value + SLOPE_SHIFT) + MIN_SLOPE
