"""The Cholesky factor of a Wishart matrix."""

import math

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import Transform

__all__ = ["WishartCholesky"]


class _LowerFactor(type(constraints.lower_cholesky)):
    """Lower triangular matrices of positive diagonal.

    The host knows no bijection to its own constraint of that name; this one has one.
    """


class _ToLowerFactor(Transform):
    """Fill a lower triangle row by row, with the exponential on the diagonal."""

    domain = constraints.real_vector
    codomain = _LowerFactor()
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        dim = self._dim(x.shape[-1])
        rows, columns = torch.tril_indices(dim, dim, device=x.device)
        y = x.new_zeros(x.shape[:-1] + (dim, dim))
        y[..., rows, columns] = torch.where(rows == columns, x.exp(), x)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        rows, columns = torch.tril_indices(y.shape[-1], y.shape[-1], device=y.device)
        x = y[..., rows, columns]
        return torch.where(rows == columns, torch.where(rows == columns, x, 1.0).log(), x)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return y.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def forward_shape(self, shape) -> torch.Size:
        dim = self._dim(shape[-1])
        return torch.Size((*shape[:-1], dim, dim))

    def inverse_shape(self, shape) -> torch.Size:
        return torch.Size((*shape[:-2], shape[-1] * (shape[-1] + 1) // 2))

    @staticmethod
    def _dim(size: int) -> int:
        return (math.isqrt(8 * size + 1) - 1) // 2


@biject_to.register(_LowerFactor)
def _to_lower_factor(constraint) -> Transform:
    return _ToLowerFactor()


class WishartCholesky(TorchDistribution):
    r"""The lower Cholesky factor of a matrix of Wishart distribution.

    .. math:: L L^T \sim \mathrm{Wishart}(\nu, S S^T), \qquad L = S A,

    with :math:`A_{ii}^2 \sim \chi^2_{\nu - i}`, :math:`A_{ij} \sim N(0, 1)` below the diagonal
    (Bartlett's decomposition).

    Args:
        concentration: degrees of freedom, above ``D - 1``, shape ``batch_shape``.
        scale_tril: lower factor of the scale matrix, shape ``batch_shape + (D, D)``.
    """

    arg_constraints = {
        "concentration": constraints.positive,
        "scale_tril": constraints.lower_cholesky,
    }
    support = _ToLowerFactor.codomain
    has_rsample = True

    def __init__(self, concentration: Tensor, scale_tril: Tensor, validate_args=None):
        batch_shape = torch.broadcast_shapes(concentration.shape, scale_tril.shape[:-2])
        event_shape = scale_tril.shape[-2:]
        self.concentration = concentration.expand(batch_shape)
        self.scale_tril = scale_tril.expand(batch_shape + event_shape)
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None) -> "WishartCholesky":
        batch_shape = torch.Size(batch_shape)
        return WishartCholesky(
            self.concentration.expand(batch_shape),
            self.scale_tril.expand(batch_shape + self.event_shape),
            validate_args=self._validate_args,
        )

    def rsample(self, sample_shape=()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        degrees = self.concentration[..., None] - torch.arange(shape[-1]).to(self.scale_tril)
        gammas = torch.distributions.Gamma(0.5 * degrees, 0.5, validate_args=False)
        diagonal = gammas.rsample(torch.Size(sample_shape)).sqrt()
        below = torch.randn(shape, dtype=diagonal.dtype, device=diagonal.device).tril(-1)
        return self.scale_tril @ (below + torch.diag_embed(diagonal))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        dim, degrees = self.event_shape[-1], self.concentration
        scaled = torch.linalg.solve_triangular(self.scale_tril, value, upper=False)
        diagonal = value.diagonal(dim1=-2, dim2=-1).log()
        # the Jacobian of L -> L L^T is 2^D prod_i L_ii^(D - i)
        powers = degrees[..., None] - 1.0 - torch.arange(dim).to(value)
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        normalizer = (0.5 * degrees - 1.0) * dim * math.log(2.0) + degrees * log_det
        normalizer = normalizer + torch.special.multigammaln(0.5 * degrees, dim)
        return (powers * diagonal).sum(-1) - 0.5 * scaled.square().sum((-2, -1)) - normalizer
