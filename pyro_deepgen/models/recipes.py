"""Auto-encoders from sizes and names: networks, posteriors and priors put together."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor, nn

from .._numerics.checks import check_dims, check_positive_int
from ..distributions import AutoregressiveNormal, Flow, StandardNormal
from ..distributions.conditionals import Conditional, NormalConditional
from .parts import Networks, make_decoder, make_encoder, posterior_family
from .stacked_autoencoder import StackedAutoencoder
from .variational_autoencoder import VariationalAutoencoder

__all__ = ["delta_vae", "stacked_vae", "vae"]


def vae(
    event_shape: Sequence[int],
    latent_dim: int = 50,
    hidden_dims: Sequence[int] = (200, 200),
    conditional: Conditional | None = None,
    posterior: str | Flow = "diagonal",
    prior: nn.Module | None = None,
    context_dim: int = 0,
    network: str = "dense",
    activation: str | Callable | None = None,
    input_range: tuple[float, float] | None = None,
    init_data: np.ndarray | Tensor | None = None,
    rank: int = 4,
    name: str | None = None,
) -> VariationalAutoencoder:
    """A variational auto-encoder of arrays.

    Args:
        event_shape: shape of the elements of one datum, ``(channels, height, width)`` for
            convolutional networks.
        latent_dim: number ``D`` of latent variables.
        hidden_dims: hidden widths of the encoder, or channels of its convolutions, each of which
            halves the image; those of the decoder backwards.
        conditional: the family of one element, default bits.
        posterior: a normal distribution, ``'diagonal'``, ``'low_rank'`` or ``'full'`` by its
            covariance, or a flow of ``D`` dimensions, whose context is a vector of its
            ``context_dim`` features of the data.
        prior: module whose call gives a distribution, default the standard normal one.
        context_dim: size of a context that encoder and decoder are given too, 0 for none.
        network: ``'dense'``, ``'gated'``, ``'convolutional'`` or ``'gated_convolutional'``.
        activation: activation of the networks, default ``'tanh'``, and ``'elu'`` of convolutional
            ones; gated ones have none but in their dense layers.
        input_range: lowest and highest entry of the data, which the encoder rescales to [-1, 1].
        init_data: data, shape ``(N,) + event_shape``, from which the decoder starts: each element
            from those of its place alone, as Burda et al. 2016 did. None for no such start.
        rank: of ``'low_rank'``.
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if the posterior's flow has another number of dimensions or no context, or a
            name is unknown.

    Example:
        >>> from pyro_deepgen.distributions import sylvester
        >>> pair = vae((8, 8), 4, posterior=sylvester(4, 2, (), context_dim=16))
        >>> pair.sample(3).shape
        torch.Size([3, 8, 8])

    References:
        Kingma & Welling 2014, Auto-encoding variational Bayes; Rezende & Mohamed 2015, Variational
        Inference with Normalizing Flows.
    """
    event_shape = check_dims("event_shape", event_shape)
    latent_dim = check_positive_int("latent_dim", latent_dim)
    networks = Networks(network, activation, context_dim)
    family = posterior_family(posterior, latent_dim, rank)
    inputs = event_shape + (conditional.event_shape if conditional else ())
    hidden_dims = check_dims("hidden_dims", hidden_dims)
    encoder = make_encoder(networks, inputs, hidden_dims, family, input_range)
    sizes = (latent_dim,), event_shape, hidden_dims[::-1]
    decoder = make_decoder(networks, *sizes, conditional, init_data)
    prior = StandardNormal(latent_dim) if prior is None else prior
    return VariationalAutoencoder(encoder, decoder, prior, name)


def stacked_vae(
    event_shape: Sequence[int],
    latent_dims: Sequence[int] = (100, 50),
    hidden_dims: Sequence[Sequence[int]] = ((200, 200), (100, 100)),
    conditional: Conditional | None = None,
    prior: nn.Module | None = None,
    context_dim: int = 0,
    network: str = "dense",
    activation: str | Callable | None = None,
    input_range: tuple[float, float] | None = None,
    init_data: np.ndarray | Tensor | None = None,
    name: str | None = None,
) -> StackedAutoencoder:
    """An auto-encoder with layers of normal latent variables, by networks of vectors.

    The defaults are the two layers of Burda et al. 2016.

    Args:
        event_shape: shape of the elements of one datum.
        latent_dims: numbers of latent variables, from the lowest layer up.
        hidden_dims: hidden widths of each layer's encoder, those of its decoder backwards.
        conditional: the family of one element, default bits.
        prior: module whose call gives the distribution of the highest layer, default standard
            normal.
        context_dim: size of a context that all networks are given too, 0 for none.
        network: ``'dense'`` or ``'gated'``.
        activation: activation of dense networks, default ``'tanh'``.
        input_range: lowest and highest entry of the data, which the encoder rescales to [-1, 1].
        init_data: data, shape ``(N,) + event_shape``, from which the decoder starts: each element
            from those of its place alone, as Burda et al. 2016 did. None for no such start.
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if there are not as many ``hidden_dims`` as ``latent_dims``, or the network is
            convolutional.

    Example:
        >>> stacked_vae((8, 8), (6, 2), ((16,), (8,))).sample(3).shape
        torch.Size([3, 8, 8])

    References:
        Burda, Grosse & Salakhutdinov 2016, Importance weighted autoencoders, section 5.
    """
    event_shape = check_dims("event_shape", event_shape)
    latent_dims = check_dims("latent_dims", latent_dims)
    if len(hidden_dims) != len(latent_dims):
        raise ValueError(
            f"hidden_dims must be as many as the {len(latent_dims)} latent_dims, got "
            f"{len(hidden_dims)}; pass the widths of each layer."
        )
    networks = Networks(network, activation, context_dim)
    if networks.of_images:
        raise ValueError(
            f"network must be one of vectors, got {network!r}; pass 'dense' or 'gated', or build "
            "the pair from its parts."
        )
    encoders, decoders, below = [], [], event_shape
    for level, (dim, widths) in enumerate(zip(latent_dims, hidden_dims, strict=True)):
        family = NormalConditional() if level else conditional
        inputs = below + (family.event_shape if family else ())
        limits, posterior = None if level else input_range, (NormalConditional(), (dim,))
        encoders.append(make_encoder(networks, inputs, widths, posterior, limits))
        sizes = (dim,), below, widths[::-1], family, None if level else init_data
        decoders.append(make_decoder(networks, *sizes))
        below = (dim,)
    prior = StandardNormal(latent_dims[-1]) if prior is None else prior
    return StackedAutoencoder(encoders, decoders, prior, name)


def delta_vae(
    event_shape: Sequence[int],
    num_chains: int = 8,
    num_steps: int = 8,
    committed_rate: float = 5.0,
    hidden_dims: Sequence[int] = (200, 200),
    conditional: Conditional | None = None,
    scale_range: tuple[float, float] = (0.05, 1.0),
    context_dim: int = 0,
    network: str = "dense",
    activation: str | Callable | None = None,
    input_range: tuple[float, float] | None = None,
    init_data: np.ndarray | Tensor | None = None,
    name: str | None = None,
) -> VariationalAutoencoder:
    r"""A variational auto-encoder whose posterior cannot collapse to its prior.

    The prior is that of autoregressive normal sequences, the posterior one of independent normal
    variables with bounded scales, so that the divergence of every datum is above
    ``committed_rate``.

    Args:
        event_shape: shape of the elements of one datum, as of :func:`vae`.
        num_chains: number of sequences of latent variables.
        num_steps: their length, at least 2.
        committed_rate: least divergence in nats, positive.
        hidden_dims: hidden widths, or channels, of the encoder; those of the decoder backwards.
        conditional: the family of one element, default bits.
        scale_range: limits of the posterior's scales.
        context_dim: size of a context that encoder and decoder are given too, 0 for none.
        network: kind of the networks, as of :func:`vae`.
        activation: their activation, as of :func:`vae`.
        input_range: lowest and highest entry of the data, which the encoder rescales to [-1, 1].
        init_data: data, shape ``(N,) + event_shape``, from which the decoder starts: each element
            from those of its place alone, as Burda et al. 2016 did. None for no such start.
        name: prefix of the names of the parameters.

    Example:
        >>> pair = delta_vae((8, 8), 3, 4, hidden_dims=(16,))
        >>> pair.sample(5).shape, pair.prior().event_shape
        (torch.Size([5, 8, 8]), torch.Size([3, 4]))

    References:
        Razavi, van den Oord, Poole & Vinyals 2019, Preventing posterior collapse with delta-VAEs,
        section 2.
    """
    event_shape = check_dims("event_shape", event_shape)
    prior = AutoregressiveNormal(num_chains, num_steps, committed_rate)
    networks, latent_shape = Networks(network, activation, context_dim), (num_chains, num_steps)
    family = (NormalConditional(*scale_range), latent_shape)
    inputs = event_shape + (conditional.event_shape if conditional else ())
    hidden_dims = check_dims("hidden_dims", hidden_dims)
    encoder = make_encoder(networks, inputs, hidden_dims, family, input_range)
    sizes = latent_shape, event_shape, hidden_dims[::-1]
    decoder = make_decoder(networks, *sizes, conditional, init_data)
    return VariationalAutoencoder(encoder, decoder, prior, name)
