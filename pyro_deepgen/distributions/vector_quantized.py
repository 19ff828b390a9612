r"""Vectors of a codebook: a prior over codes, and a posterior at the nearest code.

.. math:: k_p = \arg\min_k |z_p - e_k|^2 \text{ for each place } p
"""

import torch
from pyro.distributions import Distribution, constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

__all__ = [
    "CodebookPrior",
    "VectorQuantized",
    "nearest_codes",
    "vectors_in_rows",
    "vectors_of_codes",
]


def nearest_codes(z: Tensor, codebook: Tensor, event_dim: int = 3) -> Tensor:
    """Index of the nearest vector.

    Args:
        z: shape ``batch_shape + (D, *spatial)``, of an image ``(D, height, width)``.
        codebook: shape ``(K, D)``.
        event_dim: dimensions of ``(D, *spatial)``.

    Returns:
        Integers of shape ``batch_shape + spatial``.
    """
    z = z.movedim(-event_dim, -1)
    # |z - e|^2 without |z|^2
    return ((codebook**2).sum(-1) - 2.0 * z @ codebook.T).argmin(-1)


def vectors_of_codes(codes: Tensor, codebook: Tensor, event_dim: int = 3) -> Tensor:
    """Vectors of indices, shape ``batch_shape + (D, *spatial)``; arguments as above."""
    return codebook[codes].movedim(-1, -event_dim)


def vectors_in_rows(z: Tensor, event_dim: int = 3) -> Tensor:
    """Vectors of all places and data one after another, shape ``(M, D)``."""
    return z.movedim(-event_dim, -1).flatten(0, -2)


class CodebookPrior(TorchDistribution):
    """Images or videos of vectors of a codebook, by a distribution of their indices.

    A value's density is that of the indices of the nearest vectors.

    Args:
        codes: distribution of the indices, event shape ``(height, width)``, or any
            other number of dimensions.
        codebook: shape ``(K, D)``.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> codes = dist.Categorical(torch.ones(2, 2, 4)).to_event(2)
        >>> CodebookPrior(codes, torch.eye(4)).sample().shape
        torch.Size([4, 2, 2])
    """

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(self, codes: Distribution, codebook: Tensor):
        self.codes, self.codebook = codes, codebook
        event_shape = codebook.shape[-1:] + codes.event_shape
        super().__init__(codes.batch_shape, event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    def expand(self, batch_shape, _instance=None) -> "CodebookPrior":
        return CodebookPrior(self.codes.expand(batch_shape), self.codebook)

    @property
    def mean(self) -> Tensor:
        """The vectors of the most probable indices."""
        inner = self.codes
        while hasattr(inner, "base_dist"):
            inner = inner.base_dist
        if not hasattr(inner, "logits"):
            raise NotImplementedError("the indices have no probabilities place by place")
        found = inner.logits.argmax(-1)
        shape = self.batch_shape + self.codes.event_shape
        return vectors_of_codes(found.expand(shape), self.codebook, self.event_dim)

    def sample(self, sample_shape=()) -> Tensor:
        codes = self.codes.sample(torch.Size(sample_shape))
        return vectors_of_codes(codes, self.codebook, self.event_dim)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.codes.log_prob(nearest_codes(value, self.codebook, self.event_dim))


class VectorQuantized(TorchDistribution):
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
        >>> import torch
        >>> q = VectorQuantized(torch.full((1, 1, 1), 0.8), torch.tensor([[0.0], [1.0]]))
        >>> q.rsample().item(), q.codes.item()
        (1.0, 1)

    References:
        van den Oord, Vinyals & Kavukcuoglu 2017, Neural discrete representation learning, eq. 1-3.
    """

    arg_constraints: dict = {}
    has_rsample = True

    def __init__(
        self,
        inputs: Tensor,
        codebook: Tensor,
        commitment: float = 0.25,
        codebook_weight: float = 1.0,
        event_dim: int = 3,
    ):
        self.inputs, self.codebook = inputs, codebook
        self.commitment, self.codebook_weight = commitment, codebook_weight
        shape = inputs.shape
        super().__init__(shape[:-event_dim], shape[-event_dim:], validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def codes(self) -> Tensor:
        """Indices of the nearest vectors, shape ``batch_shape + spatial``."""
        return nearest_codes(self.inputs.detach(), self.codebook.detach(), self.event_dim)

    @property
    def mean(self) -> Tensor:
        """The vectors of the codes."""
        return vectors_of_codes(self.codes, self.codebook, self.event_dim)

    def expand(self, batch_shape, _instance=None) -> "VectorQuantized":
        inputs = self.inputs.expand(tuple(batch_shape) + self.event_shape)
        return VectorQuantized(
            inputs, self.codebook, self.commitment, self.codebook_weight, self.event_dim
        )

    def rsample(self, sample_shape=()) -> Tensor:
        # van den Oord et al. 2017, section 3.2: the gradient of the vector goes to the input
        z = self.inputs + (self.mean - self.inputs).detach()
        return z.expand(torch.Size(sample_shape) + z.shape)

    def penalty(self) -> Tensor:
        """Codebook and commitment terms, summed over places and channels, shape ``batch_shape``."""
        e, dims = self.mean, tuple(range(-self.event_dim, 0))
        # van den Oord et al. 2017, eq. 3
        codebook = ((self.inputs.detach() - e) ** 2).sum(dims)
        commitment = ((self.inputs - e.detach()) ** 2).sum(dims)
        return self.codebook_weight * codebook + self.commitment * commitment

    def log_prob(self, value: Tensor) -> Tensor:
        penalty = self.penalty()
        zero = penalty - penalty.detach()
        return zero.expand(value.shape[: value.ndim - self.event_dim])
