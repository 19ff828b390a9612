"""Quadrature rules, in NumPy."""

from functools import lru_cache

import numpy as np

from .checks import check_positive_int

__all__ = ["gauss_legendre"]


@lru_cache(maxsize=64)
def gauss_legendre(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights on ``[0, 1]``, exact for polynomials of degree ``2 num_nodes - 1``.

    Args:
        num_nodes: number of nodes, at least 1.

    Returns:
        Two float64 arrays of shape ``(num_nodes,)``; the weights are positive and sum to 1.
    """
    nodes, weights = np.polynomial.legendre.leggauss(check_positive_int("num_nodes", num_nodes))
    nodes, weights = 0.5 * (1.0 + nodes), 0.5 * weights
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights
