"""Muon for the matrices of a network, Adam for all else."""

import inspect
from collections.abc import Callable

import jax
import optax
from jax import Array

from ..arguments import check_callables

__all__ = ["muon"]

# usual root mean square of an update of Adam, over the rate
SIZE = 0.2


def muon(
    rate: float | Array,
    *,
    momentum: float = 0.95,
    is_matrix: Callable[[Array], bool] | None = None,
) -> optax.GradientTransformation:
    r"""Momentum orthogonalised by Newton-Schulz steps, for :func:`fit`.

    .. math::
        W \leftarrow W - 0.2\,\sqrt{\max(m, n)}\;\mathrm{rate}\; U V^\top, \qquad
        U S V^\top = \text{the Nesterov momentum of the gradient}

    of every weight, as a matrix of ``m`` rows, its first axis, and ``n`` columns, all the others.
    Five steps find :math:`U V^\top` roughly: singular values end between 0.6 and 1.3, where they
    began above 0.002 of the norm. An update is as large as Adam's usually are, so rates of Adam
    serve; Adam's first ones are five times as large, and in runs of tens of steps it is ahead.
    Biases, and what else is no matrix, are trained by Adam. It is ``optax.contrib.muon`` with the
    layout of this package's weights. The host's own loop takes it as ``muon(1e-2)``.

    Args:
        rate: learning rate.
        momentum: decay of the momentum, in [0, 1).
        is_matrix: which parameters of two axes or more are matrices, a function of one. Default:
            those with at least two rows and two columns.

    Returns:
        The optimiser.

    Raises:
        RuntimeError: where optax is too old.
        TypeError: if ``is_matrix`` cannot be called.
        ValueError: if ``momentum`` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"weight": jnp.ones((3, 4)), "bias": jnp.ones(3)}
        >>> optimizer = muon(1e-2)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)

    References:
        Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks (the
        iteration and its coefficients); Liu et al. (2025), Muon is scalable for LLM training,
        equation 4 (the factor 0.2).
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}; pass for example 0.95.")
    found = getattr(optax.contrib, "muon", None)
    if found is None or "consistent_rms" not in inspect.signature(found).parameters:
        raise RuntimeError(
            f"optax must be 0.2.8 or newer for muon, got {optax.__version__}; upgrade it, or train "
            "with Adam."
        )
    check_callables(is_matrix=is_matrix or _has_sides)

    def kinds(params):
        chosen = is_matrix or _has_sides
        return jax.tree.map(
            lambda value: "muon" if value.ndim > 1 and chosen(value) else "adam", params
        )

    matrices = optax.contrib.muon(
        rate, beta=momentum, muon_weight_dimension_numbers=_layout, consistent_rms=SIZE
    )
    return optax.partition({"muon": matrices, "adam": optax.adam(rate)}, kinds)


def _layout(params):
    """Outputs and inputs of every weight."""
    numbers = optax.contrib.MuonDimensionNumbers
    return jax.tree.map(lambda value: numbers(tuple(range(1, value.ndim)), 0), params)


def _has_sides(value: Array) -> bool:
    return value.shape[0] > 1 and value.size > value.shape[0]
