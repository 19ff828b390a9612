"""Bidirectional auto-encoders: some variables are drawn from the bottom up, some top down."""

import math
from collections.abc import Callable, Sequence

from pyro.distributions import Distribution
from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int
from ..distributions.conditionals import BernoulliConditional, Conditional
from ..nn import Dense, FlatInputs
from .dense_layers import NormalizedDense, flat_decoder
from .ladder import check_layers
from .normals import joined, normal_of, standard_normal
from .top_down_pair import TopDownPair

__all__ = ["BidirectionalVAE"]


class BidirectionalVAE(TopDownPair):
    r"""A bidirectional-inference variational auto-encoder (BIVA).

    .. math::
        p(z) = p(z_L) \prod_{l<L} p(z_l^{td} \mid z_{>l})\, p(z_l^{bu} \mid z_{>l}), \qquad
        q(z \mid x) = \prod_{l<L} q(z_l^{bu} \mid z_{<l}^{bu}, x)\; q(z_L \mid z_{<L}^{bu}, x)
            \prod_{l<L} q(z_l^{td} \mid z_{>l}, x)

    Sites are ``zL`` and, for each layer below, ``z1`` (top down) and ``z1_up`` (bottom up). What is
    above a layer reaches it through deterministic skip connections too. The bottom-up sites'
    divergences have no closed form; ``BetaELBO(analytic=True)`` uses it for the others. Gradients
    at given draws (``'stl'``, ``'dreg'``) are refused.

    Args:
        event_shape: shape of the elements of one datum.
        latent_dims: sizes of the layers, ``z1`` first, two or more.
        hidden_dims: hidden widths of the networks of each layer, as many.
        conditional: the family of one element, default bits.
        context_dim: size of a context of all networks, 0 for none.
        activation: activation of the networks.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if ``hidden_dims`` and ``latent_dims`` differ in number, or are fewer than two.

    Example:
        >>> BidirectionalVAE((8, 8), (8, 4), (32, 16)).sample(3).shape
        torch.Size([3, 8, 8])

    References:
        Maaloe, Fraccaro, Lievin & Winther 2019, BIVA: a very deep hierarchy of latent variables
        for generative modeling, eq. 3-7.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        latent_dims: Sequence[int] = (48, 40, 32, 24, 16),
        hidden_dims: Sequence[int] = (512, 256, 128, 64, 32),
        conditional: Conditional | None = None,
        context_dim: int = 0,
        activation: str | Callable = "silu",
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        event_shape = check_dims("event_shape", event_shape)
        conditional = BernoulliConditional() if conditional is None else conditional
        dims, widths = check_layers(latent_dims, hidden_dims)
        check_positive_int("context_dim", context_dim, minimum=0)
        inputs = event_shape + conditional.event_shape
        generator = BidirectionalGenerator(dims, widths, context_dim, activation)
        decoder = flat_decoder(
            widths[0] + 2 * dims[0], widths[:1], event_shape, conditional, activation
        )
        recognition = BidirectionalRecognition(
            inputs, dims, widths, context_dim, activation, input_range
        )
        super().__init__(generator, decoder, recognition, name)


class BidirectionalGenerator(nn.Module):
    """Layers of two normal variables each, given everything above."""

    event_dim = 1

    def __init__(self, latent_dims: tuple, hidden_dims: tuple, context_dim: int, activation):
        super().__init__()
        self.latent_dims = latent_dims
        below = range(len(latent_dims) - 1, 0, -1)
        pairs = [name for i in below for name in (f"z{i}", f"z{i}_up")]
        self.sites = (f"z{len(latent_dims)}", *pairs)
        layers, heads, before = [], [], latent_dims[-1] + context_dim
        for i in range(len(latent_dims) - 2, -1, -1):
            layers.append(NormalizedDense(before, (hidden_dims[i],) * 2, activation))
            heads.append(Dense(hidden_dims[i], 4 * latent_dims[i], ()))
            before = hidden_dims[i] + 2 * latent_dims[i]
        self.layers, self.heads = nn.ModuleList(layers), nn.ModuleList(heads)

    def forward(
        self, choose: Callable, batch_shape: tuple, context: Tensor | None = None
    ) -> Tensor:
        like, shape = (
            self.layers[0].layers[0].layers[0].weight,
            (*batch_shape, self.latent_dims[-1]),
        )
        z = choose(self.sites[0], standard_normal(like, shape, 1), None)
        features, names = joined(z, context), iter(self.sites[1:])
        for layer, head in zip(self.layers, self.heads, strict=True):
            h = layer(features)
            down, up = head(h).chunk(2, -1)
            z = choose(next(names), normal_of(down, 1), h)
            z_up = choose(next(names), normal_of(up, 1), h)
            # skip connection: Maaloe et al. 2019, section 3.1
            features = joined(h, z, z_up)
        return features


class BidirectionalRecognition(nn.Module):
    """A stochastic path from the data up, and heads for the path down."""

    def __init__(
        self,
        event_shape: tuple,
        latent_dims: tuple,
        hidden_dims: tuple,
        context_dim: int,
        activation,
        input_range: tuple | None,
    ):
        super().__init__()
        layers, up_heads, down_heads = [], [], []
        before = math.prod(event_shape) + context_dim
        for i, (dim, width) in enumerate(zip(latent_dims, hidden_dims, strict=True)):
            layers.append(NormalizedDense(before, (width, width), activation))
            up_heads.append(Dense(width, 2 * dim, ()))
            before = width + dim
            if i < len(latent_dims) - 1:
                inputs = hidden_dims[i] + width
                down_heads.append(Dense(inputs, 2 * dim, (width,), activation))
        layers[0] = FlatInputs(layers[0], len(event_shape), input_range)
        self.layers = nn.ModuleList(layers)
        self.up_heads = nn.ModuleList(up_heads)
        self.down_heads = nn.ModuleList(down_heads)

    def forward(self, x: Tensor, context: Tensor | None, draw: Callable) -> Callable:
        d = self.layers[0](x, context)
        features = {"z1": d}
        for level in range(1, len(self.layers)):
            z_up = draw(f"z{level}_up", normal_of(self.up_heads[level - 1](d), 1))
            d = self.layers[level](joined(d, z_up))
            features[f"z{level + 1}"] = d
        top = f"z{len(self.layers)}"

        def posterior(name: str, prior: Distribution, state: Tensor | None) -> Distribution:
            if name == top:
                return normal_of(self.up_heads[-1](features[name]), 1)
            head = self.down_heads[int(name[1:]) - 1]
            return normal_of(head(joined(state, features[name])), 1)

        return posterior
