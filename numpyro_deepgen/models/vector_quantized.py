"""Auto-encoders whose latent variables are codes: VQ-VAE, and its hierarchy VQ-VAE-2."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import Array, random
from numpyro import distributions as dist
from numpyro.distributions import Distribution

from .._numerics.checks import check_positive_int
from ..distributions.conditionals import Conditional
from ..distributions.vector_quantized import CodebookPrior, VectorQuantized, nearest_codes
from ..nn import Conv, SeparableBlock, average_pool, resize_nearest
from .deep_images import image_decoder
from .image_settings import ImageLevels, make_levels
from .normals import joined
from .top_down_pair import TopDownPair

__all__ = ["VQVAE", "VQVAE2"]


class CodePrior(eqx.Module):
    """Independent codes, each place with its own probabilities, uniform at the start."""

    logits: Array
    context_dim: int = eqx.field(static=True)

    def __init__(self, code_shape: tuple[int, int], num_codes: int):
        self.logits, self.context_dim = jnp.zeros((*code_shape, num_codes)), 0

    def __call__(self) -> Distribution:
        return dist.Categorical(logits=self.logits).to_event(2)


class VQVAE(TopDownPair):
    r"""A vector-quantised auto-encoder of images, with one or several levels of codes.

    The guide is a point mass at the nearest vectors of a codebook, so that the evidence lower bound
    is :math:`\log p(x \mid e_k) + \log p(k)`, an honest bound with a learned prior of the codes.
    Its gradient is that of the straight-through estimator, with codebook and commitment terms.
    Sites ``z1``, ``z2``, ... hold the vectors. Train it with one particle.

    Args:
        rng_key: random key of the starting weights.
        image_shape: ``(channels, height, width)``.
        num_codes: vectors in the codebook of each level.
        code_dim: size of a vector.
        channels: channels of the features.
        halvings: how often the first level halves the image; each further level once more.
        num_levels: number of levels of codes.
        conditional: the family of one element, default bits; one whose element holds the channels
            is given them all.
        priors: module of each level, ``z1`` first, whose call gives a distribution of integer codes
            of event shape ``(height, width)``; one with a ``context_dim``, which must be
            ``code_dim``, is given the vectors of the level above as an image. Default independent
            codes with learned probabilities.
        commitment: weight :math:`\beta` of the commitment term.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a size is out of range, or ``priors`` are not one a level.

    Example:
        >>> import jax
        >>> pair = VQVAE(jax.random.key(0), (1, 8, 8), num_codes=16, code_dim=4, channels=8)
        >>> pair.sample(jax.random.key(1), 3).shape
        (3, 1, 8, 8)

    References:
        van den Oord, Vinyals & Kavukcuoglu 2017, Neural discrete representation learning; Razavi,
        van den Oord & Vinyals 2019, Generating diverse high-fidelity images with VQ-VAE-2.
    """

    def __init__(
        self,
        rng_key: Array,
        image_shape: Sequence[int],
        num_codes: int = 128,
        code_dim: int = 16,
        channels: int = 32,
        halvings: int = 2,
        num_levels: int = 1,
        conditional: Conditional | None = None,
        priors: Sequence[Callable] | None = None,
        commitment: float = 0.25,
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        halvings = check_positive_int("halvings", halvings, minimum=0)
        num_levels = check_positive_int("num_levels", num_levels)
        num_codes = check_positive_int("num_codes", num_codes, minimum=2)
        groups = (0,) * halvings + (1,) * num_levels
        levels = make_levels(image_shape, channels, code_dim, groups, None, 0, input_range)
        if priors is None:
            priors = [CodePrior(levels.sizes[halvings + i], num_codes) for i in range(num_levels)]
        if len(priors) != num_levels:
            raise ValueError(
                f"priors must be one for each of {num_levels} levels, got {len(priors)}; pass as "
                "many."
            )
        keys = random.split(rng_key, 3)
        super().__init__(
            CodeGenerator(keys[0], levels, num_codes, priors, float(commitment)),
            image_decoder(keys[1], levels, conditional),
            CodeRecognition(keys[2], levels),
            name,
        )

    def codes(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """Integer codes of data by site, each of shape ``(B, height, width)``."""
        codebooks = zip(self.generator.sites, self.generator.codebooks, strict=True)
        found = self.encode(x, context)
        return {name: nearest_codes(found[name], codebook) for name, codebook in codebooks}

    def usage(self, x: Array) -> dict[str, Array]:
        """How often each code is used by data, counts of shape ``(num_codes,)`` by site."""
        sizes = [len(codebook) for codebook in self.generator.codebooks]
        counts = zip(self.codes(x).items(), sizes, strict=True)
        return {
            name: jnp.bincount(codes.reshape(-1), length=size) for (name, codes), size in counts
        }

    def perplexity(self, x: Array) -> dict[str, float]:
        r"""Effective number of codes that data use, by site.

        .. math:: \exp\Big(-\sum_k \hat p_k \log \hat p_k\Big)

        Pass all data, or a large part of them: that of a minibatch is too low.
        """
        found = {}
        for name, count in self.usage(x).items():
            share = count / count.sum()
            logs = jnp.log(jnp.maximum(share, 1e-12))
            found[name] = float(jnp.exp(-(share * logs).sum()))
        return found

    def bound(self, x: Array) -> Array:
        """The evidence lower bound of each datum, in nats: reconstruction and codes, exactly."""
        codes, total = self.encode(x), 0.0

        def choose(name: str, prior: Distribution, state) -> Array:
            nonlocal total
            total = total + prior.log_prob(codes[name])
            return codes[name]

        features = self.generator(choose, x.shape[:1], None)
        return total + self.decoder(features).log_prob(x)

    def restart_dead_codes(self, rng_key: Array, x: Array, min_usage: int = 1) -> "VQVAE":
        """Move codes that data hardly use to vectors of random places of data.

        Args:
            rng_key: random key.
            x: all data, or a large part of them.
            min_usage: codes used less often are moved.

        Returns:
            The pair with the new codebooks; the old one is left as it is.
        """
        found, inputs = [], self._inputs(x)
        for (name, count), book in zip(
            self.usage(x).items(), self.generator.codebooks, strict=True
        ):
            rows = jnp.moveaxis(inputs[name], -3, -1).reshape(-1, book.shape[-1])
            rng_key, key = random.split(rng_key)
            picks = random.randint(key, (len(book),), 0, len(rows))
            found.append(jnp.where((count < min_usage)[:, None], rows[picks], book))
        return eqx.tree_at(lambda pair: pair.generator.codebooks, self, tuple(found))

    def _inputs(self, x: Array) -> dict[str, Array]:
        """The vectors that are quantised, by site."""
        posterior, found = self._at_means(x, None), {}

        def choose(*site) -> Array:
            q = posterior(*site)
            found[site[0]] = q.inputs
            return q.mean

        self.generator(choose, x.shape[:1], None)
        return found


class VQVAE2(VQVAE):
    """A hierarchy of codes: :class:`VQVAE` with two levels, the lower given the upper.

    Args:
        rng_key: random key of the starting weights.
        image_shape: ``(channels, height, width)``.
        num_codes: vectors in the codebook of each level.
        code_dim: size of a vector.
        channels: channels of the features.
        halvings: how often the lower level halves the image; the upper one once more.
        num_levels: number of levels of codes.
        **options: further arguments of :class:`VQVAE`.

    Example:
        >>> import jax
        >>> pair = VQVAE2(jax.random.key(0), (1, 8, 8), num_codes=16, code_dim=4, channels=8)
        >>> codes = pair.codes(pair.sample(jax.random.key(1), 3))
        >>> {name: found.shape for name, found in codes.items()}
        {'z2': (3, 2, 2), 'z1': (3, 4, 4)}
    """

    def __init__(
        self,
        rng_key: Array,
        image_shape: Sequence[int],
        num_codes: int = 128,
        code_dim: int = 16,
        channels: int = 32,
        halvings: int = 1,
        num_levels: int = 2,
        **options,
    ):
        super().__init__(
            rng_key, image_shape, num_codes, code_dim, channels, halvings, num_levels, **options
        )


class CodeGenerator(eqx.Module):
    """Codebooks, priors of their codes, and the features of the image."""

    codebooks: tuple[Array, ...]
    priors: tuple[Callable, ...]
    combine: Conv
    blocks: tuple[SeparableBlock, ...]
    levels: ImageLevels = eqx.field(static=True)
    sites: tuple[str, ...] = eqx.field(static=True)
    commitment: float = eqx.field(static=True)
    event_dim: int = eqx.field(static=True)

    def __init__(
        self,
        rng_key: Array,
        levels: ImageLevels,
        num_codes: int,
        priors: Sequence,
        commitment: float,
    ):
        self.event_dim = 3
        keys = random.split(rng_key, 4 + len(levels.scales))
        count, dim = len(levels.scales), levels.latent_channels
        self.levels, self.commitment = levels, commitment
        self.sites = tuple(f"z{i}" for i in range(count, 0, -1))
        self.codebooks = tuple(random.normal(keys[4 + i], (num_codes, dim)) for i in range(count))
        self.priors = tuple(priors)
        self.combine = Conv(keys[0], count * dim, levels.channels)
        blocks = [SeparableBlock(keys[1 + i], levels.channels, kernel_size=3) for i in range(2)]
        self.blocks = tuple(blocks)

    def __call__(self, choose: Callable, batch_shape: tuple, context: Array | None = None) -> Array:
        found = []
        for i, (name, scale) in enumerate(zip(self.sites, self.levels.scales, strict=True)):
            size, prior = self.levels.sizes[scale], self.priors[-1 - i]
            above = resize_nearest(found[-1], *size) if found else None
            codes = prior(above) if getattr(prior, "context_dim", 0) else prior()
            if codes.batch_shape != tuple(batch_shape):
                shape = batch_shape if above is None else above.shape[:-3]
                codes = codes.expand(tuple(shape))
            book = self.codebooks[i]
            state = (book, above, self.commitment)
            found.append(choose(name, CodebookPrior(codes, book), state))
        sizes = self.levels.sizes[self.levels.scales[-1]]
        h = self.combine(joined(*(resize_nearest(z, *sizes) for z in found), event_dim=3))
        for scale, block in zip((self.levels.scales[-1], 0), self.blocks, strict=True):
            h = block(resize_nearest(h, *self.levels.sizes[scale]))
        return h


class CodeRecognition(eqx.Module):
    """Blocks from the image to coarser scales, and the vectors to quantise."""

    stem: Conv
    blocks: tuple[SeparableBlock, ...]
    heads: tuple[Conv, ...]
    levels: ImageLevels = eqx.field(static=True)

    def __init__(self, rng_key: Array, levels: ImageLevels):
        keys = random.split(rng_key, 1 + len(levels.sizes) + len(levels.scales))
        width, z, start = levels.channels, levels.latent_channels, 1 + len(levels.sizes)
        self.levels = levels
        self.stem = Conv(keys[0], levels.image_shape[0], width)
        blocks = [
            SeparableBlock(keys[1 + i], width, kernel_size=3) for i in range(len(levels.sizes))
        ]
        heads = [
            Conv(keys[start + i], width + (z if i else 0), z) for i in range(len(levels.scales))
        ]
        self.blocks, self.heads = tuple(blocks), tuple(heads)

    def __call__(self, x: Array, context: Array | None, draw: Callable) -> Callable:
        d, found = self.stem(self.levels.rescaled(x, self.stem.weight)), []
        for size, block in zip(self.levels.sizes, self.blocks, strict=True):
            d = block(average_pool(d, *size))
            found.append(d)

        def posterior(name: str, prior: Distribution, state: tuple) -> Distribution:
            place = len(self.heads) - int(name[1:])
            book, above, commitment = state
            features = joined(found[self.levels.scales[place]], above, event_dim=3)
            return VectorQuantized(self.heads[place](features), book, commitment)

        return posterior
