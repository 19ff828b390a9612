"""The readable table: one row a method, one verdict line a method, a short conclusion."""

import numpy as np

__all__ = ["blocks", "conclusion", "head", "notes", "table"]

WIDTH = 100


def table(comparison) -> str:
    """The comparison as fixed-width text.

    Args:
        comparison: a :class:`~.comparison.Comparison`.
    """
    parts = [head(comparison)]
    parts += [_text(title, rows) for title, rows in blocks(comparison).items()]
    said = notes(comparison)
    if said:
        parts.append("\n".join(["Notes", *(f"  {line}" for line in said)]))
    parts.append(_verdicts(comparison))
    parts.append("Conclusion: " + conclusion(comparison))
    return "\n\n".join(parts) + "\n"


def blocks(comparison) -> dict[str, list[list[str]]]:
    """The tables of the comparison: title -> rows of cells, the column titles first."""
    results = comparison.results
    guides = [result for result in results if result.kind == "guide" and result.error is None]
    chains = [result for result in results if result.kind == "mcmc" and result.error is None]
    compared = [result for result in results if "mean_error_max" in result.metrics]
    errors = "Error against the reference, in its standard deviations (worst scalar +- MCSE)"
    found = {
        "Time, seconds": _rows(_TIMES, results),
        "Guides": _rows(_GUIDE, guides),
        "MCMC (worst scalar)": _rows(_MCMC, chains),
        errors: _rows(_AGREEMENT, compared),
        "Posterior predictive checks (the most extreme statistic)": _predictive_rows(comparison),
        "Simulation-based calibration (the worst scalar)": _calibration_rows(comparison),
    }
    return {title: rows for title, rows in found.items() if len(rows) > 1}


def conclusion(comparison) -> str:
    """Which methods to trust and which of them is the cheapest."""
    results = comparison.results
    if not results:
        return "no method finished."
    trusted = [result.name for result in results if result.verdict.level == "trust"]
    if not trusted:
        return "no method is to be trusted as it stands; " + _advice(comparison)
    best = comparison.best()
    text = f"trust {', '.join(trusted)}; the cheapest is {best.name} ({best.total_seconds:.1f} s"
    text += " in all)."
    rejected = [result.name for result in results if result.verdict.level == "reject"]
    text += f" Do not use {', '.join(rejected)}." if rejected else ""
    return text + _better_reference(comparison)


def _better_reference(comparison) -> str:
    reference = comparison.reference
    clean = [r for r in comparison.results if r.kind == "mcmc" and r.verdict.level == "trust"]
    if reference is None or reference.trusted or not clean:
        return ""
    return f" Its draws can replace the reference: run again with {clean[0].name} as reference."


def _advice(comparison) -> str:
    reference = comparison.reference
    if reference is None:
        return "give a reference, or run nuts, to judge the guides by."
    if not reference.trusted:
        return (
            "mend the reference first: longer chains, a higher target_accept_prob, a non-centred "
            "model, or neutra."
        )
    return "run longer, or try another guide."


def head(comparison) -> str:
    """What was compared, with what budgets, against what reference, and the warnings."""
    model, settings = comparison.model, comparison.settings
    precision = "float64" if settings.x64 else "float32"
    lines = [
        f"Comparison of {model.name} on {comparison.host}: {len(model.latent_shapes)} latent "
        f"sites, {model.latent_dim} unconstrained dimensions, {precision}, seed {settings.seed}",
        _budgets(settings),
    ]
    reference = comparison.reference
    if reference is not None:
        count = _count(reference.draws)
        lines.append(f"Reference: {reference.source}, {count} draws, {_standing(reference)}")
    lines += [f"!! {line}" for line in comparison.warnings]
    return "\n".join(lines)


def _budgets(settings) -> str:
    particles = f"{settings.num_particles} particles, {settings.num_guide_draws} draws"
    if settings.time_budget is not None:
        return (
            f"{settings.time_budget:g} s a method after compilation; {settings.num_chains} chains, "
            f"{settings.num_warmup} warm-up steps; guides {particles}"
        )
    return (
        f"{settings.num_chains} chains x ({settings.num_warmup} warm-up + {settings.num_samples} "
        f"draws); guides {settings.num_steps} steps x {particles}"
    )


def _standing(reference) -> str:
    return "trusted" if reference.trusted else "NOT TRUSTED"


def _count(draws) -> int:
    shape = next(iter(draws.values())).shape
    return shape[0] * shape[1]


def _seconds(name: str):
    def cell(result) -> str:
        value = result.timings.get(name)
        return "-" if value is None else f"{value:.2f}"

    return cell


def _number(name: str, pattern: str, error: bool = False):
    def cell(result) -> str:
        metric = result.metrics.get(name)
        if metric is None or metric.value is None:
            return "n/a"
        text = format(metric.value, pattern)
        if error and metric.error is not None:
            text += f" +- {format(metric.error, pattern)}"
        return text

    return cell


_TIMES = {
    "compile": _seconds("compile"),
    "fit": _seconds("fit"),
    "draw": _seconds("draw"),
    "total": lambda result: f"{result.total_seconds:.2f}",
}
_GUIDE = {
    "ELBO": _number("elbo", ".2f", error=True),
    "IW bound": _number("iw_bound", ".2f", error=True),
    "k-hat": _number("khat", ".2f"),
    "importance ESS": _number("importance_ess", ".0f"),
}
_MCMC = {
    "R-hat": _number("rhat", ".3f"),
    "bulk ESS": _number("ess_bulk", ".0f"),
    "/s": _number("ess_bulk_per_second", ".0f"),
    "tail ESS": _number("ess_tail", ".0f"),
    "/s ": _number("ess_tail_per_second", ".0f"),
    "gradients": _number("num_gradients", ".0f"),
    "ESS/gradient": _number("ess_per_gradient", ".3g"),
    "divergences": _number("divergences", ".0f"),
    "E-BFMI": _number("ebfmi", ".2f"),
}
_AGREEMENT = {
    "mean": _number("mean_error_max", ".2f", error=True),
    "log sd": _number("sd_error_max", ".2f", error=True),
    "quantile": _number("quantile_error_max", ".2f", error=True),
    "sliced W1": _number("sliced_wasserstein", ".3f"),
    "(floor)": _number("sliced_wasserstein_floor", ".3f"),
    "worst mean": lambda result: result.metrics["mean_error_max"].where or "-",
}


def _rows(columns: dict, results: list) -> list[list[str]]:
    rows = [["", *columns]]
    return rows + [[r.name, *(cell(r) for cell in columns.values())] for r in results]


def _predictive_rows(comparison) -> list[list[str]]:
    rows = [["", "site", "statistic", "observed", "replicated", "p", "extreme"]]
    for name, checks in comparison.predictive.items():
        worst = min(checks, key=lambda check: min(check.p_value, 1.0 - check.p_value))
        low, high = np.quantile(worst.replicated, (0.05, 0.95))
        count = sum(check.extreme for check in checks)
        cells = [worst.site, worst.statistic, f"{worst.observed:.3g}", f"{low:.3g} to {high:.3g}"]
        rows.append([name, *cells, f"{worst.p_value:.3f}", f"{count} of {len(checks)}"])
    return rows


def _calibration_rows(comparison) -> list[list[str]]:
    rows = [["", "simulations", "failed", "scalar", "p (all scalars)", "calibrated"]]
    for name, found in comparison.calibration.items():
        count = len(next(iter(found.ranks.values()), ()))
        p_value = "n/a" if found.p_value is None else f"{found.p_value:.3f}"
        said = "n/a" if found.p_value is None else "yes" if found.calibrated else "NO"
        failed = str(len(found.errors))
        rows.append([name, str(count), failed, found.worst or "-", p_value, said])
    return rows


def _text(title: str, rows: list[list[str]]) -> str:
    """Rows of right-aligned cells under their column titles."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join([title, *lines])


def notes(comparison) -> list[str]:
    """Why a cell says n/a, and what the methods want known; each line once."""
    lines, results = {}, [result for result in comparison.results if result.error is None]
    for result in results:
        for name, metric in result.metrics.items():
            if metric.value is None:
                lines.setdefault(f"n/a: {metric.note}", {})[f"{result.name} {name}"] = None
            elif "left out" in metric.note and name.endswith("_error_max"):
                lines.setdefault(metric.note, {})[name.removesuffix("_error_max")] = None
    said = [f"{line} ({', '.join(names)})" for line, names in lines.items()]
    own = [f"{result.name}: {note}" for result in results for note in result.notes]
    for name, found in comparison.calibration.items():
        own += [f"{name}: a simulation failed: {error}" for error in found.errors[:1]]
    return said + list(dict.fromkeys(own + comparison.notes))


def _verdicts(comparison) -> str:
    lines = ["Verdicts"]
    width = max((len(result.name) for result in comparison.results), default=0)
    reference = comparison.reference
    for result in comparison.results:
        verdict = result.verdict
        head = f"  {result.name.ljust(width)}  {verdict.level.upper().ljust(7)}  "
        role = reference is not None and reference.method == result.name
        reasons = [*verdict.reasons, "(the reference)"] if role else list(verdict.reasons)
        lines.append(head + reasons[0])
        lines += [" " * len(head) + reason for reason in reasons[1:]]
    return "\n".join(lines)
