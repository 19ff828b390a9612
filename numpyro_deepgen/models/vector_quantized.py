"""Auto-encoders whose latent variables are codes: VQ-VAE, and its hierarchy VQ-VAE-2."""

from collections.abc import Callable, Sequence
from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jax import Array, random
from numpyro.distributions import Distribution
from numpyro.primitives import mutable as numpyro_mutable

from .._numerics.checks import check_positive_int
from ..distributions.conditionals import Conditional
from ..distributions.vector_quantized import nearest_codes, vectors_in_rows
from ..infer.top_down import TopDown
from ..nn import Codebook
from .code_levels import CodeGenerator, CodePrior, CodeRecognition
from .deep_images import image_decoder
from .image_settings import make_levels
from .top_down_pair import TopDownPair

__all__ = ["VQVAE", "VQVAE2"]


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
            of event shape ``(height, width)``. One with a ``context_dim`` is given a context: if
            its ``context_kind`` is ``'vector'``, that of the pair; else an image of the vectors of
            the level above, beside the pair's context at each pixel. Default independent codes
            with learned probabilities, given the context.
        commitment: weight :math:`\beta` of the commitment term.
        codebook_decay: decay in (0, 1) of moving averages that the codebooks then are (0.99 is
            usual); None for codebooks learned by gradients.
        context_dim: size of a context that priors, decoder and encoder are given, 0 for none.
        input_range: lowest and highest entry of the data, which are then rescaled to [-1, 1].
        name: prefix of the names of the parameters.

    Raises:
        ValueError: if a size is out of range, or ``priors`` are not one a level, or take another
            context.

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
        codebook_decay: float | None = None,
        context_dim: int = 0,
        input_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        halvings = check_positive_int("halvings", halvings, minimum=0)
        num_levels = check_positive_int("num_levels", num_levels)
        num_codes = check_positive_int("num_codes", num_codes, minimum=2)
        groups = (0,) * halvings + (1,) * num_levels
        levels = make_levels(
            image_shape, channels, code_dim, groups, None, context_dim, input_range
        )
        if priors is None:
            sizes = levels.sizes[halvings:]
            priors = [CodePrior(size, num_codes, levels.context_dim) for size in sizes]
        if len(priors) != num_levels:
            raise ValueError(
                f"priors must be one for each of {num_levels} levels, got {len(priors)}; pass as "
                "many."
            )
        keys = random.split(rng_key, 3)
        super().__init__(
            CodeGenerator(keys[0], levels, num_codes, priors, float(commitment), codebook_decay),
            image_decoder(keys[1], levels, conditional),
            CodeRecognition(keys[2], levels),
            name,
        )

    def codes(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """Integer codes of data by site, each of shape ``(B, height, width)``."""
        codebooks = zip(self.generator.sites, self.generator.codebooks, strict=True)
        found = self.encode(x, context)
        dim = self.generator.event_dim
        return {name: nearest_codes(found[name], book.weight, dim) for name, book in codebooks}

    def usage(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """How often each code is used by data, counts of shape ``(num_codes,)`` by site."""
        sizes = [len(book.weight) for book in self.generator.codebooks]
        counts = zip(self.codes(x, context).items(), sizes, strict=True)
        return {
            name: jnp.bincount(codes.reshape(-1), length=size) for (name, codes), size in counts
        }

    def perplexity(self, x: Array, context: Array | None = None) -> dict[str, float]:
        r"""Effective number of codes that data use, by site.

        .. math:: \exp\Big(-\sum_k \hat p_k \log \hat p_k\Big)

        Pass all data, or a large part of them: that of a minibatch is too low.
        """
        found = {}
        for name, count in self.usage(x, context).items():
            share = count / count.sum()
            logs = jnp.log(jnp.maximum(share, 1e-12))
            found[name] = float(jnp.exp(-(share * logs).sum()))
        return found

    def bound(self, x: Array, context: Array | None = None) -> Array:
        """The evidence lower bound of each datum, in nats: reconstruction and codes, exactly."""
        codes, total = self.encode(x, context), 0.0

        def choose(name: str, prior: Distribution, state) -> Array:
            nonlocal total
            total = total + prior.log_prob(codes[name])
            return codes[name]

        features = self.generator(choose, x.shape[:1], context)
        return total + self.decoder(features).log_prob(x)

    def restart_dead_codes(
        self, rng_key: Array, x: Array, min_usage: int = 1, context: Array | None = None
    ) -> "VQVAE":
        """Move codes that data hardly use to vectors of random places of data.

        Args:
            rng_key: random key.
            x: all data, or a large part of them.
            min_usage: codes used less often are moved.
            context: shape ``(B, context_dim)``, or None.

        Returns:
            The pair with the new codebooks; the old one is left as it is.
        """
        inputs, usage, books = self._inputs(x, context), self.usage(x, context), []
        for name, book in zip(self.generator.sites, self.generator.codebooks, strict=True):
            rows = vectors_in_rows(inputs[name], self.generator.event_dim)
            rng_key, key = random.split(rng_key)
            picks = random.randint(key, (len(book.weight),), 0, len(rows))
            books.append(book.move(usage[name] < min_usage, rows[picks]))
        return self._with_codebooks(tuple(books))

    def bind(self, *parts: str) -> "VQVAE":
        """Register the networks, and take the codebooks from where their averages are kept."""
        pair = super().bind(*parts)
        if "generator" not in parts or not self._is_moving:
            return pair
        return pair._with_codebooks(self._averages()["codebooks"])

    def with_params(self, params: dict) -> "VQVAE":
        """Return the pair with trained arrays, moving averages among them."""
        pair, name = super().with_params(params), f"{self.name}.codebooks$state"
        return pair._with_codebooks(params[name]["codebooks"]) if name in params else pair

    @property
    def _is_moving(self) -> bool:
        return self.generator.codebooks[0].decay is not None

    def _averages(self) -> dict:
        """The host's state of the moving averages."""
        start = {"codebooks": self.generator.codebooks}
        return numpyro_mutable(f"{self.name}.codebooks$state", start)

    def _with_codebooks(self, codebooks: tuple[Codebook, ...]) -> "VQVAE":
        return eqx.tree_at(lambda pair: pair.generator.codebooks, self, codebooks)

    @property
    def guide(self) -> TopDown:
        """The guide, a handler over the model, with the same arguments."""
        if not self._is_moving:
            return super().guide
        # the averages of a run of the guide, which its generator is to see
        run: dict = {}
        return TopDown(partial(self._model_of, run), partial(self._observing, run))

    def _model_of(
        self,
        run: dict,
        x: Array | None = None,
        context: Array | None = None,
        *,
        size: int | None = None,
    ) -> Array:
        pair = super().bind(*self.model_parts)
        return pair._with_codebooks(run["averages"]["codebooks"])._generate(x, context, size)

    def _observing(self, run: dict, *args, **kwargs) -> Callable:
        """The posteriors, which move the averages."""
        find, averages = self._posteriors(*args, **kwargs), self._averages()
        averages["codebooks"] = tuple(book.refresh() for book in averages["codebooks"])
        run["averages"] = averages

        def observed(name: str, prior: Distribution, state) -> Distribution:
            q = find(name, prior, state)
            books = dict(zip(self.generator.sites, averages["codebooks"], strict=True))
            rows = vectors_in_rows(q.inputs, q.event_dim)
            books[name] = books[name].observe(rows, q.codes.reshape(-1))
            averages["codebooks"] = tuple(books.values())
            return q

        return observed

    def _inputs(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """The vectors that are quantised, by site."""
        posterior, found = self._at_means(x, context), {}

        def choose(*site) -> Array:
            q = posterior(*site)
            found[site[0]] = q.inputs
            return q.mean

        self.generator(choose, x.shape[:1], context)
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
