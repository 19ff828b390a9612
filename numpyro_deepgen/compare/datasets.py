r"""Data of the built-in problems, and exact posterior draws where mathematics gives them.

References:
    Rubin, "Estimation in parallel randomized experiments", 1981 (eight schools).
    Efron, Hastie, Johnstone and Tibshirani, "Least angle regression", 2004 (diabetes).
    Street, Wolberg and Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", 1993.
    Neal, "Slice sampling", 2003, section 8 (funnel).
"""

import numpy as np

from .errors import DataError

__all__ = [
    "breast_cancer",
    "diabetes",
    "eight_schools",
    "eight_schools_draws",
    "funnel_draws",
]

EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)
LOC_SCALE = 5.0
SCALE_SCALE = 5.0
FUNNEL_SCALE = 3.0
FUNNEL_DIM = 9


def eight_schools() -> dict[str, np.ndarray]:
    """Coaching effects ``y`` in eight schools and their standard errors ``sigma``, shape (8,)."""
    return {"sigma": np.array(ERRORS), "y": np.array(EFFECTS)}


def diabetes() -> dict[str, np.ndarray]:
    """Disease progression: ``x`` of shape (442, 10) and ``y`` of shape (442,), standardised."""
    x, y = _sklearn("load_diabetes")
    return {"x": _standardise(x), "y": _standardise(y)}


def breast_cancer() -> dict[str, np.ndarray]:
    """Tumours: ``x`` of shape (569, 30), standardised, and ``y`` in {0, 1}, 1 for malignant."""
    x, y = _sklearn("load_breast_cancer")
    return {"x": _standardise(x), "y": (1 - y).astype(np.float64)}


def _sklearn(loader: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise DataError(
            "this built-in problem needs scikit-learn for its data: pip install scikit-learn"
        ) from error
    return getattr(datasets, loader)(return_X_y=True)


def _standardise(value: np.ndarray) -> np.ndarray:
    return (value - value.mean(0)) / value.std(0)


def funnel_draws(num_samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    r"""Exact draws of Neal's funnel, :math:`v \sim N(0, 3^2)`, :math:`x_i \sim N(0, e^{v})`.

    Returns:
        ``v`` of shape ``(num_samples,)`` and ``x`` of shape ``(num_samples, 9)``.
    """
    rng = np.random.default_rng(seed)
    v = FUNNEL_SCALE * rng.standard_normal(num_samples)
    x = np.exp(v / 2.0)[:, None] * rng.standard_normal((num_samples, FUNNEL_DIM))
    return {"v": v, "x": x}


def eight_schools_draws(
    num_samples: int, seed: int = 0, centered: bool = True
) -> dict[str, np.ndarray]:
    r"""Exact posterior draws of eight schools, by quadrature over the scale.

    With :math:`\mu \sim N(0, 5^2)`, :math:`\tau \sim \text{HalfCauchy}(5)`,
    :math:`\theta_j \sim N(\mu, \tau^2)` and :math:`y_j \sim N(\theta_j, \sigma_j^2)`, both
    :math:`p(\mu \mid \tau, y)` and :math:`p(\theta \mid \mu, \tau, y)` are normal, and
    :math:`p(\tau \mid y)` is known up to its constant.

    Args:
        num_samples: number of independent draws.
        seed: of the draws.
        centered: whether to give ``theta``, or ``z`` with ``theta = mu + tau * z``.

    Returns:
        ``mu`` and ``tau`` of shape ``(num_samples,)``, ``theta`` or ``z`` of shape
        ``(num_samples, 8)``.

    References:
        Gelman et al., "Bayesian Data Analysis", third edition, equations 5.17 to 5.21.
    """
    rng = np.random.default_rng(seed)
    y, sigma = np.array(EFFECTS), np.array(ERRORS)
    log_tau = np.linspace(np.log(1e-6), np.log(1e5), 20001)
    loc, var, log_density = _marginal_of_scale(np.exp(log_tau), y, sigma)
    mass = np.exp(log_density + log_tau - np.max(log_density + log_tau))
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * (mass[1:] + mass[:-1]))])
    tau = np.exp(np.interp(rng.uniform(size=num_samples), cdf / cdf[-1], log_tau))
    loc, var, _ = _marginal_of_scale(tau, y, sigma)
    mu = loc + np.sqrt(var) * rng.standard_normal(num_samples)
    # BDA3 equation 5.17, for the standardised effect z: stable as tau goes to zero.
    precision = 1.0 + (tau[:, None] / sigma) ** 2
    z_loc = tau[:, None] * (y - mu[:, None]) / sigma**2 / precision
    z = z_loc + rng.standard_normal((num_samples, y.size)) / np.sqrt(precision)
    if centered:
        return {"mu": mu, "tau": tau, "theta": mu[:, None] + tau[:, None] * z}
    return {"mu": mu, "tau": tau, "z": z}


def _marginal_of_scale(tau: np.ndarray, y: np.ndarray, sigma: np.ndarray):
    """Mean and variance of mu given tau, and the log density of tau, each of tau's shape."""
    total = sigma**2 + tau[:, None] ** 2
    # BDA3 equation 5.20 with the normal prior on mu.
    var = 1.0 / (np.sum(1.0 / total, -1) + 1.0 / LOC_SCALE**2)
    loc = var * np.sum(y / total, -1)
    # BDA3 equation 5.21: p(tau | y) is p(tau) times the evidence given tau.
    log_density = (
        0.5 * np.log(var)
        - 0.5 * loc**2 / LOC_SCALE**2
        - 0.5 * np.sum(np.log(total) + (y - loc[:, None]) ** 2 / total, -1)
        - np.log1p((tau / SCALE_SCALE) ** 2)
    )
    return loc, var, log_density
