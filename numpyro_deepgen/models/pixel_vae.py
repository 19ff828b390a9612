r"""Auto-encoders whose decoder is autoregressive: latent variables for what is global in an image.

.. math::
    p(x, z) = p(z) \prod_t p\big(x_t \mid x_{<t}, h(z)\big)

A strong decoder can do without the latent variables, and the posterior then collapses to the prior.
Against this there are

- free nats of the divergence, ``BetaELBO(free_bits=...)``, and a weight of it that rises,
  ``BetaELBO(KLWarmup(num_steps))``;
- a posterior that keeps a rate, ``committed_rate`` of :func:`pixel_vae`;
- a decoder that sees little of the image: few ``num_blocks`` and a small ``kernel_size``;
- a decoder that sees some of the elements before alone, ``input_dropout`` of
  :meth:`PixelVAE.model`, in training.

A committed rate holds by construction, and free nats do in the tests; the others need not.
"""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import numpyro
from jax import Array

from .._numerics.checks import check_choice, check_dims, check_positive, check_positive_int
from ..distributions import (
    AmortizedAutoregressive,
    Autoregressive,
    AutoregressiveNormal,
    Flow,
    StandardNormal,
)
from ..distributions._elements import check_conditional, in_channels
from ..distributions.conditionals import BernoulliConditional, Conditional, NormalConditional
from ..nn import FlatInputs, GatedPixelCNN, ImageDecoder, PixelCNN
from .base import data_plate
from .parts import Networks, make_encoder, posterior_family
from .variational_autoencoder import VariationalAutoencoder

__all__ = ["PixelVAE", "pixel_vae"]

DECODERS = {"pixel_cnn": PixelCNN, "gated_pixel_cnn": GatedPixelCNN}


class PixelVAE(VariationalAutoencoder):
    r"""A variational auto-encoder with an autoregressive decoder.

    What it returns of images are draws, an element after another: such a decoder has no mean.

    Args:
        encoder: module that maps data, and the context if there is one, to a distribution.
        decoder: :class:`~numpyro_deepgen.distributions.AmortizedAutoregressive` of the latent
            variables, and of the context if there is one.
        prior: module whose call gives a distribution, as of :class:`VariationalAutoencoder`.
        name: prefix of the names of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro
        >>> from numpyro.infer import SVI
        >>> from numpyro_deepgen.infer import BetaELBO
        >>> from numpyro_deepgen.models import pixel_vae
        >>> key, x = jax.random.key(0), jnp.zeros((5, 1, 8, 8))
        >>> pair = pixel_vae(key, (1, 8, 8), 2, (4,), hidden_dim=4, num_blocks=1)
        >>> svi = SVI(pair.model, pair.guide, numpyro.optim.Adam(1e-3), BetaELBO(free_bits=2.0))
        >>> options = {"size": 1000, "input_dropout": 0.2, "progress_bar": False}
        >>> pair = pair.with_params(svi.run(key, 2, x, **options).params)
        >>> pair.reconstruct(x, rng_key=key).shape
        (5, 1, 8, 8)

    References:
        Gulrajani et al. 2017, PixelVAE: A latent variable model for natural images; Bowman et al.
        2016, Generating sentences from a continuous space, section 3.2 (dropout of the inputs).
    """

    def model(
        self,
        x: Array | None = None,
        context: Array | None = None,
        *,
        size: int | None = None,
        input_dropout: float = 0.0,
        training: bool = False,
    ) -> Array:
        r"""Draw latent variables from the prior and data from the likelihood.

        With dropout the decoder sees each element with the probability ``1 - input_dropout``, and
        zeros for the others. What is trained is then :math:`E_m \log p_m(x \mid z)` over the
        choices ``m`` of what is seen, a bound of their mixture. Pass it to training alone: without
        it, in held-out arguments or ``log_evidence``, the model is the exact one.

        Args:
            x: data, shape ``(B,) + event_shape``, or None to draw them.
            context: shape ``(B, context_dim)``, or None.
            size: number of all data if these are a minibatch; of data to draw without ``x``.
            input_dropout: rate of dropout of the decoder's inputs, in [0, 1).
            training: whether a decoder that has dropout of features, as PixelCNN++, drops some.
        """
        pair = self.bind(*self.model_parts)
        with data_plate(x, context, size):
            z = numpyro.sample("z", pair.prior(context))
            features = pair.decoder.features(z, context)
            keep = pair._keep(features, input_dropout)
            rng_key = numpyro.prng_key() if training else None
            return numpyro.sample("x", pair.decoder.distribution(features, keep, rng_key), obs=x)

    def guide(
        self,
        x: Array,
        context: Array | None = None,
        *,
        size: int | None = None,
        input_dropout: float = 0.0,
        training: bool = False,
    ) -> Array:
        """Draw latent variables from the posterior of data; arguments as of :meth:`model`."""
        return super().guide(x, context, size=size)

    def _keep(self, features: Array, input_dropout: float) -> Array | None:
        """Which elements the decoder sees, at random, or None for all of them."""
        if input_dropout == 0.0:
            return None
        rate = check_positive("input_dropout", input_dropout, 1.0)
        network = self.decoder.density.network
        leading = features.shape[: features.ndim - len(network.context_shape)]
        shape = (*leading, network.num_positions)
        return jax.random.uniform(numpyro.prng_key(), shape) >= rate


def pixel_vae(
    rng_key: Array,
    image_shape: Sequence[int],
    latent_dim: int = 64,
    channels: Sequence[int] = (32, 64),
    conditional: Conditional | None = None,
    decoder: str = "gated_pixel_cnn",
    hidden_dim: int = 32,
    num_blocks: int = 4,
    kernel_size: int = 5,
    feature_dim: int = 16,
    one_hot: bool = False,
    posterior: str | Flow = "diagonal",
    prior: eqx.Module | None = None,
    committed_rate: float | None = None,
    num_steps: int = 8,
    scale_range: tuple[float, float] = (0.05, 1.0),
    context_dim: int = 0,
    network: str = "convolutional",
    activation: str | Callable | None = None,
    input_range: tuple[float, float] | None = None,
    rank: int = 4,
    name: str | None = None,
) -> PixelVAE:
    """A variational auto-encoder of images with a PixelCNN as its decoder.

    Transposed convolutions turn the latent variables into an image of features, which enters every
    block of the PixelCNN. An element of the decoder sees ``kernel_size // 2 + num_blocks`` rows and
    columns before it.

    Args:
        rng_key: random key of the starting weights.
        image_shape: ``(channels, height, width)``.
        latent_dim: number of latent variables.
        channels: channels of the encoder's convolutions, each of which halves the image; those of
            the transposed ones backwards.
        conditional: the family of one element, default bits; one whose element holds the channels
            where there are several.
        decoder: ``'pixel_cnn'`` or ``'gated_pixel_cnn'``.
        hidden_dim: its width.
        num_blocks: number of its blocks.
        kernel_size: odd size of its first kernels.
        feature_dim: channels of the features of the latent variables.
        one_hot: whether integers enter the decoder as one-hot vectors.
        posterior: kind of the posterior or a flow, as of :func:`vae`.
        prior: module whose call gives a distribution, default the standard normal one.
        committed_rate: least divergence in nats, positive: the latent variables are then
            ``latent_dim`` sequences, with the prior and posterior of :func:`delta_vae`. None for
            no such limit.
        num_steps: length of those sequences, at least 2.
        scale_range: limits of that posterior's scales.
        context_dim: size of a context that encoder and decoder are given too, 0 for none.
        network: ``'convolutional'`` or ``'gated_convolutional'``.
        activation: their activation, as of :func:`vae`.
        input_range: lowest and highest entry of the data, which the encoder rescales to [-1, 1].
        rank: of the posterior ``'low_rank'``.
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a name is unknown, the conditional does not hold all channels, or a posterior
            or prior is given with a ``committed_rate``.

    Example:
        >>> import jax
        >>> key = jax.random.key(0)
        >>> pair = pixel_vae(key, (1, 8, 8), 2, (4,), hidden_dim=4, num_blocks=1)
        >>> pair.sample(key, 3).shape
        (3, 1, 8, 8)

    References:
        Gulrajani et al. 2017, PixelVAE: A latent variable model for natural images, section 3.1;
        Razavi et al. 2019, Preventing posterior collapse with delta-VAEs.
    """
    image_shape, channels = check_dims("image_shape", image_shape), check_dims("channels", channels)
    check_choice("decoder", decoder, tuple(DECODERS))
    check_choice("network", network, ("convolutional", "gated_convolutional"))
    latent_dim = check_positive_int("latent_dim", latent_dim)
    conditional = BernoulliConditional() if conditional is None else conditional
    check_conditional(conditional)
    networks, latent_shape = Networks(network, activation, context_dim), (latent_dim,)
    if committed_rate is None:
        family = posterior_family(posterior, latent_dim, rank)
        prior = StandardNormal(latent_dim) if prior is None else prior
    else:
        _check_free(posterior, prior)
        prior = AutoregressiveNormal(latent_dim, num_steps, committed_rate)
        latent_shape = (latent_dim, num_steps)
        family = (NormalConditional(*scale_range), latent_shape)
    keys = jax.random.split(rng_key, 3)
    encoder = make_encoder(keys[0], networks, image_shape, channels, family, input_range)
    features = (check_positive_int("feature_dim", feature_dim), *image_shape[1:])
    inputs = math.prod(latent_shape) + context_dim
    upsampler = ImageDecoder(keys[1], inputs, features, channels[::-1], **networks.options)
    if len(latent_shape) > 1:
        upsampler = FlatInputs(upsampler, len(latent_shape))
    pixels = DECODERS[decoder](
        keys[2],
        image_shape[1:],
        conditional.num_params,
        hidden_dim,
        num_blocks,
        _in_channels(image_shape, conditional, one_hot),
        context_dim=feature_dim,
        context_kind="image",
        kernel_size=kernel_size,
    )
    density = Autoregressive(pixels, conditional, image_shape)
    return PixelVAE(encoder, AmortizedAutoregressive(upsampler, density), prior, name)


def _in_channels(image_shape: tuple[int, ...], conditional: Conditional, one_hot: bool) -> int:
    """How many numbers of one place the decoder is given."""
    if image_shape[:-2] not in (conditional.event_shape, (1, *conditional.event_shape)):
        raise ValueError(
            f"conditional must be that of the {image_shape[0]} channels of one place, got "
            f"{conditional!r} with event_shape={conditional.event_shape}; pass for example "
            "DiscretizedLogisticMixtureConditional(5, 0, 255, channels=3)."
        )
    return in_channels(conditional, one_hot)


def _check_free(posterior: str | Flow, prior: Callable | None) -> None:
    """Raise if a posterior or a prior is given."""
    if posterior != "diagonal" or prior is not None:
        raise ValueError(
            "posterior and prior must be left out with a committed_rate, which brings its own, got "
            f"{posterior!r} and {prior!r}; leave out committed_rate, or both."
        )
