"""The table of the density benchmark: ours beside the peers, with paired differences."""

from collections import defaultdict

import numpy as np

__all__ = ["chosen", "compact", "difference", "markdown"]

OURS = ("pyro_deepgen", "numpyro_deepgen")


def chosen(records) -> dict[tuple, list[dict]]:
    """(data, family, library) -> one fit a seed, at the learning rate that validation chose."""
    groups = defaultdict(list)
    for record in records:
        groups[record["data"], record["family"], record["library"]].append(record)
    found = {}
    for key, group in groups.items():
        first = [record for record in group if record["seed"] == 0]
        if first:
            rate = max(first, key=lambda record: record["valid"])["learning_rate"]
            fits = {r["seed"]: r for r in group if r["learning_rate"] == rate}
            found[key] = [fits[seed] for seed in sorted(fits)]
    return found


def difference(ours: list[dict], peer: list[dict]) -> tuple[float, float]:
    """Mean of ours - peer in nats a row, and its standard error over rows and seeds."""
    a, b = (np.array([fit["test"] for fit in fits]) for fits in (ours, peer))
    rows = a.mean(0) - b.mean(0)
    variance = rows.var(ddof=1) / len(rows)
    for fits in (a, b):
        if len(fits) > 1:
            variance += fits.mean(1).var(ddof=1) / len(fits)
    return float(rows.mean()), float(np.sqrt(variance))


def markdown(records) -> str:
    """Rows of data and family: held-out means, parameter counts, differences, seconds a fit."""
    fits = chosen(records)
    lines = [
        "| data | family | library | parameters | log-likelihood | "
        "pyro_deepgen - peer | numpyro_deepgen - peer | seconds a fit | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (data, family, library), group in fits.items():
        differences = [
            difference(fits[data, family, twin], group)
            if library not in OURS and (data, family, twin) in fits
            else None
            for twin in OURS
        ]
        worse = [twin for twin, d in zip(OURS, differences, strict=True) if d and d[0] < -2 * d[1]]
        cells = ["" if d is None else f"{d[0]:+.3f} ± {d[1]:.3f}" for d in differences]
        mean = np.mean([fit["test"] for fit in group])
        seconds = np.median([fit["wall_seconds"] for fit in group])
        flag = f"**worse: {', '.join(worse)}**" if worse else ""
        lines.append(
            f"| {data} | {family} | {library} | {group[0]['num_parameters']} | {mean:.3f} | "
            f"{' | '.join(cells)} | {seconds:.1f} | {flag} |"
        )
    return "\n".join(lines)


def compact(records) -> str:
    """A row for each family, a column for each data set: both twins, and the best peer's.

    A twin that is more than two standard errors below that peer is printed in bold.
    """
    fits = chosen(records)
    names = list(dict.fromkeys(data for data, _, _ in fits))
    families = list(dict.fromkeys(family for _, family, _ in fits))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for family in families:
        cells = [_cell(fits, data, family) for data in names]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(fits: dict, data: str, family: str) -> str:
    groups = {library: fits[d, f, library] for d, f, library in fits if (d, f) == (data, family)}
    means = {name: np.mean([fit["test"] for fit in group]) for name, group in groups.items()}
    peers = sorted(set(means) - set(OURS), key=means.get)
    parts = []
    for twin in OURS:
        if twin not in means:
            parts.append("-")
            continue
        text = f"{means[twin]:.2f}"
        if peers:
            gap, error = difference(groups[twin], groups[peers[-1]])
            text = f"**{text}**" if gap < -2 * error else text
        parts.append(text)
    return " · ".join(parts) + (f" ({peers[-1]} {means[peers[-1]]:.2f})" if peers else "")
