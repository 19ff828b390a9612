"""The prior of a mixture from its settings, and what follows from its posterior."""

import numpy as np

from .checks import check_positive, check_positive_int
from .variational_mixture import MixturePosterior, MixturePrior

__all__ = ["mixture_prior", "predictive_parameters"]


def mixture_prior(
    num_components: int,
    input_dim: int,
    concentration: float | np.ndarray | None,
    loc: np.ndarray | None,
    loc_precision: float,
    degrees: float | None,
    scale_matrix: np.ndarray | None,
) -> MixturePrior:
    """Check the settings of a prior and fill in the defaults.

    Raises:
        ValueError: if one is out of range or of the wrong shape.
    """
    count = check_positive_int("num_components", num_components)
    dim = check_positive_int("input_dim", input_dim)
    degrees = float(dim) if degrees is None else check_positive("degrees", degrees)
    if degrees <= dim - 1:
        raise ValueError(
            f"degrees must be above input_dim - 1 = {dim - 1}, got {degrees}; pass a larger number."
        )
    concentration = np.asarray(1.0 / count if concentration is None else concentration, float)
    if concentration.shape not in ((), (count,)) or not (concentration > 0).all():
        raise ValueError(
            f"concentration must be positive, a number or of shape ({count},), got "
            f"{concentration.tolist()}; pass for example {1.0 / count:.3g}."
        )
    loc = np.zeros(dim) if loc is None else np.asarray(loc, float)
    if loc.shape != (dim,):
        raise ValueError(f"loc must have shape ({dim},), got {loc.shape}; pass a point.")
    matrix = np.eye(dim) / degrees if scale_matrix is None else np.asarray(scale_matrix, float)
    symmetric = matrix.shape == (dim, dim) and np.allclose(matrix, matrix.T)
    if not symmetric or np.linalg.eigvalsh(matrix).min() <= 0.0:
        raise ValueError(
            f"scale_matrix must be symmetric and positive definite of shape ({dim}, {dim}), got "
            f"shape {matrix.shape}; pass for example the inverse of a covariance over the degrees."
        )
    return MixturePrior(
        np.broadcast_to(concentration, (count,)).copy(),
        loc,
        check_positive("loc_precision", loc_precision),
        degrees,
        matrix,
    )


def predictive_parameters(posterior: MixturePosterior) -> tuple[np.ndarray, ...]:
    """Weights, degrees of freedom, locations and lower scale factors of Bishop (2006), (10.81)."""
    dim = posterior.locs.shape[-1]
    df = posterior.degrees + 1.0 - dim
    factor = df * posterior.loc_precisions / (1.0 + posterior.loc_precisions)
    precisions = factor[:, None, None] * posterior.scale_matrices
    return posterior.weights, df, posterior.locs, np.linalg.cholesky(np.linalg.inv(precisions))
