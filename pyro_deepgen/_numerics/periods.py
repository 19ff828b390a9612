"""Periods of sequences, for stacks of layers that repeat."""

from collections.abc import Sequence

__all__ = ["check_period"]


def check_period(structures: Sequence[set[tuple[str, str]]]) -> int:
    """Return the smallest number of layers after which the structure of a stack repeats.

    Args:
        structures: for each layer pairs of name and value, all that must agree.

    Raises:
        ValueError: if there are several layers and nothing repeats.
    """
    count = len(structures)
    for period in range(1, max(count, 2)):
        if all(structures[i] == structures[i - period] for i in range(period, count)):
            return period
    other = next(i for i in range(count) if structures[i] != structures[0])
    differing = sorted({name for name, _ in structures[0] ^ structures[other]})
    raise ValueError(
        "transforms must have one structure, or structures that repeat with a period, got "
        f"{count} transforms without one (number 0 and number {other} differ in "
        f"{', '.join(differing)}); use Compose."
    )
