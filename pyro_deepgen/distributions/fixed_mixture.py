"""A mixture of normals that is not trained, as the base of a flow with several modes."""

import torch
from pyro import distributions as dist
from pyro.distributions import Distribution
from torch import Tensor, nn

__all__ = ["FixedMixture"]


class FixedMixture(nn.Module):
    r"""A module whose call gives a mixture of ``K`` normals that is not trained.

    .. math::
        p(x) = \sum_k \pi_k N(x; m_k, L_k L_k^T)

    The arrays are saved and moved with the module, but their derivatives are zero. A draw is then
    a function of noise alone, so that the transforms above it are trained by the pathwise
    gradient: the flow begins, and stays, with a share of its mass at every mode.

    Args:
        weights: shape ``(K,)``, positive; only their ratios matter.
        loc: shape ``(K, D)``.
        scale_tril: lower triangles ``L`` with positive diagonals, shape ``(K, D, D)``.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite, or a weight or diagonal entry
            is not positive.

    Example:
        >>> import torch
        >>> loc = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> FixedMixture(torch.ones(2), loc, torch.eye(2).expand(2, 2, 2))().event_shape
        torch.Size([2])
    """

    def __init__(self, weights: Tensor, loc: Tensor, scale_tril: Tensor):
        super().__init__()
        count, dim = loc.shape if loc.ndim == 2 else (0, 0)
        if weights.shape != (count,) or scale_tril.shape != (count, dim, dim) or not count:
            shapes = (tuple(weights.shape), tuple(loc.shape), tuple(scale_tril.shape))
            raise ValueError(
                f"weights, loc and scale_tril must have shapes (K,), (K, D) and (K, D, D), got "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}; pass arrays that fit."
            )
        if not _is_usable(weights, loc, scale_tril):
            raise ValueError(
                "weights and scale_tril must be finite, with positive weights and diagonals, got "
                "entries that are not; check what they were computed from."
            )
        self.input_dim = dim
        self.register_buffer("logits", (weights / weights.sum()).log())
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("scale_tril", scale_tril.detach().tril())

    def forward(self, context: Tensor | None = None) -> Distribution:
        components = dist.MultivariateNormal(self.loc, scale_tril=self.scale_tril)
        return _ReparameterizedMixture(dist.Categorical(logits=self.logits), components)


class _ReparameterizedMixture(dist.MixtureSameFamily):
    """A mixture without parameters: its draws are functions of noise alone."""

    has_rsample = True

    def rsample(self, sample_shape=()) -> Tensor:
        return self.sample(torch.Size(sample_shape))


def _is_usable(weights: Tensor, loc: Tensor, scale_tril: Tensor) -> bool:
    finite = all(bool(array.isfinite().all()) for array in (weights, loc, scale_tril))
    diagonals = scale_tril.diagonal(dim1=-2, dim2=-1)
    return finite and bool((weights > 0).all() and (diagonals > 0).all())
