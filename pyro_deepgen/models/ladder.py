"""Ladder auto-encoders of vectors: what data say of a layer, weighed against its prior."""

import math
from collections.abc import Callable, Sequence

from pyro.distributions import Distribution
from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int
from ..distributions.conditionals import BernoulliConditional, Conditional
from ..nn import Dense, FlatInputs
from .dense_layers import NormalizedDense, flat_decoder
from .normals import joined, normal_of, precision_weighted, standard_normal
from .top_down_pair import TopDownPair

__all__ = ["LadderVAE", "check_layers"]


class LadderVAE(TopDownPair):
    r"""A ladder variational auto-encoder.

    .. math::
        q(z_l \mid z_{>l}, x) \propto p(z_l \mid z_{l+1})\, N(z_l; \hat\mu_l(x), \hat\sigma_l^2(x))

    Deterministic layers go up from the data, stochastic ones ``zL`` to ``z1`` down. Layers are
    normalised over their units, log scales softly clamped to five and scales at least 0.01.

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
        >>> LadderVAE((8, 8), (8, 4), (32, 16)).sample(3).shape
        torch.Size([3, 8, 8])

    References:
        Soenderby, Raiko, Maaloe, Soenderby & Winther 2016, Ladder variational autoencoders,
        eq. 17-20; it has batch normalisation.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        latent_dims: Sequence[int] = (64, 32, 16, 8, 4),
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
        generator = LadderGenerator(dims, widths, context_dim, activation)
        decoder = flat_decoder(
            dims[0] + context_dim, widths[:1] * 2, event_shape, conditional, activation
        )
        recognition = LadderRecognition(inputs, dims, widths, context_dim, activation, input_range)
        super().__init__(generator, decoder, recognition, name)


def check_layers(latent_dims, hidden_dims) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return checked sizes and widths of layers, or raise."""
    dims, widths = check_dims("latent_dims", latent_dims), check_dims("hidden_dims", hidden_dims)
    if len(dims) != len(widths) or len(dims) < 2:
        raise ValueError(
            f"latent_dims and hidden_dims must have an entry for each of two or more layers, got "
            f"{dims} and {widths}; pass one width a layer."
        )
    return dims, widths


class LadderGenerator(nn.Module):
    """Normal layers, each given the one above."""

    event_dim = 1

    def __init__(self, latent_dims: tuple, hidden_dims: tuple, context_dim: int, activation):
        super().__init__()
        self.latent_dims = latent_dims
        self.sites = tuple(f"z{i}" for i in range(len(latent_dims), 0, -1))
        self.layers = nn.ModuleList(
            Dense(above + context_dim, 2 * dim, (width, width), activation)
            for dim, above, width in zip(
                latent_dims[:-1], latent_dims[1:], hidden_dims[:-1], strict=True
            )
        )

    def forward(
        self, choose: Callable, batch_shape: tuple, context: Tensor | None = None
    ) -> Tensor:
        like, shape = self.layers[0].layers[0].weight, (*batch_shape, self.latent_dims[-1])
        z = choose(self.sites[0], standard_normal(like, shape, 1), None)
        for name, layer in zip(self.sites[1:], reversed(self.layers), strict=True):
            z = choose(name, normal_of(layer(joined(z, context)), 1), None)
        return joined(z, context)


class LadderRecognition(nn.Module):
    """Deterministic layers of the data, and what each says of its latent layer."""

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
        layers, before = [], math.prod(event_shape) + context_dim
        for width in hidden_dims:
            layers.append(NormalizedDense(before, (width, width), activation))
            before = width
        layers[0] = FlatInputs(layers[0], len(event_shape), input_range)
        heads = [
            Dense(width, 2 * dim, ()) for dim, width in zip(latent_dims, hidden_dims, strict=True)
        ]
        self.layers, self.heads = nn.ModuleList(layers), nn.ModuleList(heads)

    def forward(self, x: Tensor, context: Tensor | None, draw: Callable) -> Callable:
        found, d = {}, self.layers[0](x, context)
        for level, head in enumerate(self.heads, 1):
            d = d if level == 1 else self.layers[level - 1](d)
            found[f"z{level}"] = normal_of(head(d), 1)
        top = f"z{len(self.heads)}"

        def posterior(name: str, prior: Distribution, state) -> Distribution:
            if name == top:
                return found[name]
            return precision_weighted(prior, found[name], 1)

        return posterior
