"""Views of draws as named scalars of shape ``(chain, draw)``, the unit every metric works on."""

from collections.abc import Iterable, Mapping

import numpy as np

from .diagnostics import pareto_shape

__all__ = ["flatten_draws", "scalars", "spread_draws", "tail_shape"]


def scalars(draws: Mapping, sites: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Split draws into named scalars, leaving out those that never vary.

    Args:
        draws: site -> array ``(chain, draw) + event_shape``.
        sites: the sites to take, in this order; all by default. Absent ones are skipped.

    Returns:
        Name (``"theta[2]"``) -> float64 array ``(chain, draw)``.

    Example:
        >>> list(scalars({"a": np.arange(8.0).reshape(1, 4, 2)}))
        ['a[0]', 'a[1]']
    """
    out = {}
    for site in draws if sites is None else sites:
        if site not in draws:
            continue
        value = np.asarray(draws[site])
        if value.dtype.kind not in "fiub":
            continue
        for index in np.ndindex(value.shape[2:]):
            column = value[(slice(None), slice(None), *index)].astype(np.float64)
            if not np.all(column == column.flat[0]):
                label = f"[{','.join(map(str, index))}]" if index else ""
                out[f"{site}{label}"] = column
    return out


def flatten_draws(columns: Mapping[str, np.ndarray], names: Iterable[str]) -> np.ndarray:
    """Stack the named scalars into an array ``(chain * draw, len(names))``."""
    return np.stack([columns[name].reshape(-1) for name in names], axis=-1)


def tail_shape(column: np.ndarray) -> float:
    r"""Generalised-Pareto shape of the tails of a scalar: moments of order ``1 / k`` exist.

    The shape of :math:`|x - \mathrm{median}(x)|`, fitted as in PSIS. A value above 0.5 says that
    the variance does not exist (or cannot be told from draws), so neither a mean nor a standard
    deviation of the draws means anything; ``-inf`` for a constant.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", 2024,
        section 2.3 and the moment diagnostics of section 6.
    """
    distance = np.abs(column.reshape(-1) - np.median(column))
    return pareto_shape(np.log(np.maximum(distance, np.finfo(np.float64).tiny)))


def spread_draws(draws: Mapping, sites: Iterable[str], count: int) -> dict[str, np.ndarray]:
    """Draws spread evenly over all chains, without the chains.

    Args:
        draws: site -> array ``(chain, draw) + event_shape``.
        sites: the sites to take.
        count: number of draws, or all where there are fewer.

    Returns:
        Site -> array ``(count,) + event_shape``.
    """
    flat = {name: draws[name].reshape(-1, *draws[name].shape[2:]) for name in sites}
    size = len(next(iter(flat.values())))
    chosen = np.linspace(0, size - 1, min(size, count)).round().astype(int)
    return {name: value[chosen] for name, value in flat.items()}
