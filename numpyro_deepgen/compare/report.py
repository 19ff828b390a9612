"""The readable table: one row a method, one verdict line a method, a short conclusion."""

__all__ = ["conclusion", "table"]

WIDTH = 100


def table(comparison) -> str:
    """The comparison as fixed-width text.

    Args:
        comparison: a :class:`~.comparison.Comparison`.
    """
    parts = [_head(comparison)]
    results = comparison.results
    parts.append(_block("Time, seconds", _TIMES, results))
    guides = [result for result in results if result.kind == "guide" and result.error is None]
    if guides:
        parts.append(_block("Guides", _GUIDE, guides))
    chains = [result for result in results if result.kind == "mcmc" and result.error is None]
    if chains:
        parts.append(_block("MCMC (worst scalar)", _MCMC, chains))
    compared = [result for result in results if "mean_error_max" in result.metrics]
    if compared:
        title = "Error against the reference, in its standard deviations (worst scalar +- MCSE)"
        parts.append(_block(title, _AGREEMENT, compared))
    notes = _notes(guides + chains)
    if notes:
        parts.append("\n".join(["Notes", *notes]))
    parts.append(_verdicts(comparison))
    parts.append("Conclusion: " + conclusion(comparison))
    return "\n\n".join(parts) + "\n"


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


def _head(comparison) -> str:
    model, settings = comparison.model, comparison.settings
    precision = "float64" if settings.x64 else "float32"
    lines = [
        f"Comparison of {model.name} on {comparison.host}: {len(model.latent_shapes)} latent "
        f"sites, {model.latent_dim} unconstrained dimensions, {precision}, seed {settings.seed}",
        f"{settings.num_chains} chains x ({settings.num_warmup} warm-up + {settings.num_samples} "
        f"draws); guides {settings.num_steps} steps x {settings.num_particles} particles, "
        f"{settings.num_guide_draws} draws",
    ]
    reference = comparison.reference
    if reference is not None:
        count = _count(reference.draws)
        lines.append(f"Reference: {reference.source}, {count} draws, {_standing(reference)}")
    lines += [f"!! {line}" for line in comparison.warnings]
    return "\n".join(lines)


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


def _block(title: str, columns: dict, results: list) -> str:
    """Rows of right-aligned cells under their column titles."""
    rows = [["", *columns]]
    rows += [[result.name, *(cell(result) for cell in columns.values())] for result in results]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join([title, *lines])


def _notes(results: list) -> list[str]:
    """Why a cell says n/a, and what the methods want known; each line once."""
    lines = {}
    for result in results:
        for name, metric in result.metrics.items():
            if metric.value is None:
                lines.setdefault(f"n/a: {metric.note}", {})[f"{result.name} {name}"] = None
            elif "left out" in metric.note and name.endswith("_error_max"):
                lines.setdefault(metric.note, {})[name.removesuffix("_error_max")] = None
    said = [f"  {line} ({', '.join(names)})" for line, names in lines.items()]
    own = [f"  {result.name}: {note}" for result in results for note in result.notes]
    return said + list(dict.fromkeys(own))


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
