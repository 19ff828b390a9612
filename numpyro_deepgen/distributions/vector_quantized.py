r"""Vectors of a codebook: a prior over codes, and a posterior at the nearest code.

.. math:: k_p = \arg\min_k |z_p - e_k|^2 \text{ for each place } p
"""

import jax.numpy as jnp
from jax import Array, lax
from numpyro.distributions import Distribution, constraints

__all__ = [
    "CodebookPrior",
    "VectorQuantized",
    "nearest_codes",
    "vectors_in_rows",
    "vectors_of_codes",
]


def nearest_codes(z: Array, codebook: Array, event_dim: int = 3) -> Array:
    """Index of the nearest vector.

    Args:
        z: shape ``batch_shape + (D, *spatial)``, of an image ``(D, height, width)``.
        codebook: shape ``(K, D)``.
        event_dim: dimensions of ``(D, *spatial)``.

    Returns:
        Integers of shape ``batch_shape + spatial``.
    """
    z = jnp.moveaxis(z, -event_dim, -1)
    # |z - e|^2 without |z|^2
    return ((codebook**2).sum(-1) - 2.0 * z @ codebook.T).argmin(-1)


def vectors_of_codes(codes: Array, codebook: Array, event_dim: int = 3) -> Array:
    """Vectors of indices, shape ``batch_shape + (D, *spatial)``; arguments as above."""
    return jnp.moveaxis(codebook[codes], -1, -event_dim)


def vectors_in_rows(z: Array, event_dim: int = 3) -> Array:
    """Vectors of all places and data one after another, shape ``(M, D)``."""
    return jnp.moveaxis(z, -event_dim, -1).reshape(-1, z.shape[-event_dim])


class CodebookPrior(Distribution):
    """Images or videos of vectors of a codebook, by a distribution of their indices.

    A value's density is that of the indices of the nearest vectors.

    Args:
        codes: distribution of the indices, event shape ``(height, width)``, or any
            other number of dimensions.
        codebook: shape ``(K, D)``.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> codes = dist.CategoricalProbs(jnp.ones((2, 2, 4)) / 4).to_event(2)
        >>> CodebookPrior(codes, jnp.eye(4)).sample(jax.random.key(0)).shape
        (4, 2, 2)
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("codes", "codebook")

    def __init__(self, codes: Distribution, codebook: Array):
        self.codes, self.codebook = codes, codebook
        event_shape = (codebook.shape[-1], *codes.event_shape)
        super().__init__(codes.batch_shape, event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    def expand(self, batch_shape) -> "CodebookPrior":
        return CodebookPrior(self.codes.expand(batch_shape), self.codebook)

    @property
    def mean(self) -> Array:
        """The vectors of the most probable indices."""
        inner = self.codes
        while hasattr(inner, "base_dist"):
            inner = inner.base_dist
        if not hasattr(inner, "logits"):
            raise NotImplementedError("the indices have no probabilities place by place")
        found = inner.logits.argmax(-1)
        shape = self.batch_shape + self.codes.event_shape
        return vectors_of_codes(jnp.broadcast_to(found, shape), self.codebook, self.event_dim)

    def sample(self, key: Array | None, sample_shape=()) -> Array:
        codes = self.codes.sample(key, sample_shape)
        return vectors_of_codes(codes, self.codebook, self.event_dim)

    def log_prob(self, value: Array) -> Array:
        return self.codes.log_prob(nearest_codes(value, self.codebook, self.event_dim))


class VectorQuantized(Distribution):
    r"""A point mass at the nearest vectors of a codebook, with straight-through gradients.

    .. math::
        z = z_e + \mathrm{sg}(e - z_e), \qquad
        \log q(z) = 0, \quad \nabla \log q(z) = \nabla \big(w\, |\mathrm{sg}(z_e) - e|^2
            + \beta\, |z_e - \mathrm{sg}(e)|^2\big)

    Its density is one at its only code, so that the evidence lower bound is a bound; the gradients
    of codebook and commitment terms come along without a value.

    Args:
        inputs: vectors :math:`z_e`, shape ``batch_shape + (D, *spatial)``.
        codebook: shape ``(K, D)``.
        commitment: :math:`\beta`.
        codebook_weight: :math:`w`.
        event_dim: dimensions of ``(D, *spatial)``, 3 for images, 4 for videos.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> q = VectorQuantized(jnp.full((1, 1, 1), 0.8), jnp.array([[0.0], [1.0]]))
        >>> q.sample(jax.random.key(0)).item(), q.codes.item()
        (1.0, 1)

    References:
        van den Oord, Vinyals & Kavukcuoglu 2017, Neural discrete representation learning, eq. 1-3.
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("inputs", "codebook", "commitment", "codebook_weight")
    reparametrized_params = ["inputs"]

    def __init__(
        self,
        inputs: Array,
        codebook: Array,
        commitment: float = 0.25,
        codebook_weight: float = 1.0,
        event_dim: int = 3,
    ):
        self.inputs, self.codebook = inputs, codebook
        self.commitment, self.codebook_weight = commitment, codebook_weight
        shape = inputs.shape
        super().__init__(shape[:-event_dim], shape[-event_dim:], validate_args=False)

    @property
    def has_rsample(self) -> bool:
        return True

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def codes(self) -> Array:
        """Indices of the nearest vectors, shape ``batch_shape + spatial``."""
        return nearest_codes(
            lax.stop_gradient(self.inputs), lax.stop_gradient(self.codebook), self.event_dim
        )

    @property
    def mean(self) -> Array:
        """The vectors of the codes."""
        return vectors_of_codes(self.codes, self.codebook, self.event_dim)

    def expand(self, batch_shape) -> "VectorQuantized":
        inputs = jnp.broadcast_to(self.inputs, tuple(batch_shape) + self.event_shape)
        return VectorQuantized(
            inputs, self.codebook, self.commitment, self.codebook_weight, self.event_dim
        )

    def sample(self, key: Array | None, sample_shape=()) -> Array:
        # van den Oord et al. 2017, section 3.2: the gradient of the vector goes to the input
        z = self.inputs + lax.stop_gradient(self.mean - self.inputs)
        return jnp.broadcast_to(z, tuple(sample_shape) + z.shape)

    def penalty(self) -> Array:
        """Codebook and commitment terms, summed over places and channels, shape ``batch_shape``."""
        e, dims = self.mean, tuple(range(-self.event_dim, 0))
        # van den Oord et al. 2017, eq. 3
        codebook = ((lax.stop_gradient(self.inputs) - e) ** 2).sum(dims)
        commitment = ((self.inputs - lax.stop_gradient(e)) ** 2).sum(dims)
        return self.codebook_weight * codebook + self.commitment * commitment

    def log_prob(self, value: Array) -> Array:
        penalty = self.penalty()
        zero = penalty - lax.stop_gradient(penalty)
        return jnp.broadcast_to(zero, value.shape[: value.ndim - self.event_dim])
