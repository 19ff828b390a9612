"""The vectors that codes stand for."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax, random

from .._numerics.checks import check_positive, check_positive_int

__all__ = ["Codebook"]


class Codebook(eqx.Module):
    r"""Vectors of codes, learned by gradients, or as moving averages of what is nearest to them.

    With :math:`n_k` inputs of a batch nearest to :math:`e_k`, and :math:`s_k` their sum,

    .. math::
        N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \qquad
        e_k \leftarrow e_k + (1 - \gamma) \frac{s_k - n_k e_k}{N_k},

    which is the ratio of the moving averages of :math:`s_k` and :math:`n_k`. Vectors without inputs
    stay where they are. What a batch changes holds from the next :meth:`refresh`, so that all of a
    step sees the same vectors.

    Args:
        rng_key: random key of the starting vectors.
        num_codes: number ``K`` of vectors.
        code_dim: size ``D`` of a vector.
        decay: :math:`\gamma` in (0, 1), None for gradients.

    Raises:
        ValueError: if a size or the decay is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> before = Codebook(jax.random.key(0), 2, 1, decay=0.5)
        >>> book = before.observe(jnp.ones((4, 1)), jnp.zeros(4, int)).refresh()
        >>> bool((book.weight - before.weight)[0] != 0), bool((book.weight - before.weight)[1] == 0)
        (True, True)

    References:
        van den Oord, Vinyals & Kavukcuoglu 2017, Neural discrete representation learning,
        equations 6-8.
    """

    weight: Array
    ahead: Array | None
    size: Array | None
    decay: float | None = eqx.field(static=True)

    def __init__(self, rng_key: Array, num_codes: int, code_dim: int, decay: float | None = None):
        num_codes = check_positive_int("num_codes", num_codes, minimum=2)
        shape = (num_codes, check_positive_int("code_dim", code_dim))
        self.decay = None if decay is None else check_positive("decay", decay, 1.0)
        self.weight = random.normal(rng_key, shape)
        self.ahead = None if decay is None else self.weight
        self.size = None if decay is None else jnp.ones(num_codes)

    def refresh(self) -> "Codebook":
        """Return the codebook that takes over what was observed."""
        return self if self.decay is None else self._replaced(weight=self.ahead)

    def observe(self, inputs: Array, codes: Array) -> "Codebook":
        """Return the codebook with averages moved towards a batch.

        Args:
            inputs: shape ``(M, D)``.
            codes: index of the vector nearest to each, shape ``(M,)``.
        """
        if self.decay is None:
            return self
        rate, ahead, inputs = 1.0 - self.decay, self.ahead, lax.stop_gradient(inputs)
        count = jnp.zeros_like(self.size).at[codes].add(1.0)
        total = jnp.zeros_like(ahead).at[codes].add(inputs.astype(ahead.dtype))
        # van den Oord et al. 2017, eq. 6-8
        size = self.decay * self.size + rate * count
        safe = jnp.maximum(size, jnp.finfo(size.dtype).tiny)[:, None]
        ahead = ahead + rate * (total - count[:, None] * ahead) / safe
        return self._replaced(ahead=ahead, size=size)

    def move(self, chosen: Array, vectors: Array) -> "Codebook":
        """Return the codebook with other vectors in the place of those chosen.

        Args:
            chosen: booleans of shape ``(K,)``.
            vectors: shape ``(K, D)``.
        """

        def moved(book: Array) -> Array:
            return jnp.where(chosen[:, None], vectors.astype(book.dtype), book)

        if self.decay is None:
            return self._replaced(weight=moved(self.weight))
        size = jnp.where(chosen, 1.0, self.size)
        return self._replaced(weight=moved(self.weight), ahead=moved(self.ahead), size=size)

    def _replaced(self, **arrays: Array) -> "Codebook":
        return eqx.tree_at(
            lambda book: [getattr(book, name) for name in arrays], self, list(arrays.values())
        )
