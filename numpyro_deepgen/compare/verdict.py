"""Rules that turn metrics into a verdict with its reasons; every threshold has a name.

A method is trusted only on positive evidence. MCMC needs clean diagnostics. A guide needs agreement
with a reference that is itself trusted: PSIS k-hat looks only where the guide has mass, so it
cannot see a mode the guide misses, and without a trusted reference a guide gets "caution" at best.
Errors count against a method only beyond three Monte Carlo errors of both sides.
"""

from collections.abc import Mapping

from .agreement import MCSE_FACTOR, MOMENTS
from .results import MethodResult, Reference, Verdict

__all__ = ["Rules", "judge", "judge_mcmc", "judge_reference"]


class Rules:
    """Thresholds of the verdicts."""

    max_rhat = 1.01
    reject_rhat = 1.05
    min_ess = 400.0
    reject_ess = 100.0
    max_divergences = 0
    reject_divergent_share = 0.05
    min_ebfmi = 0.3
    max_khat = 0.7
    even_ess_share = 0.9
    max_error = {"mean": 0.1, "sd": 0.1, "quantile": 0.2}
    max_wasserstein = 0.1
    reject_factor = 3.0


CAUTION, REJECT = "caution", "reject"
TITLES = {"mean": "mean", "sd": "standard deviation", "quantile": "a quantile"}


def judge(result: MethodResult, reference: Reference | None) -> Verdict:
    """The verdict of a method.

    Args:
        result: a method with its metrics set.
        reference: the reference draws, or None.

    Returns:
        ``"trust"`` without findings; otherwise the worst finding's level, with all the reasons.
    """
    if result.error is not None:
        return Verdict(REJECT, (f"failed: {result.error}",))
    trusted = reference is not None and reference.trusted
    is_reference = reference is not None and reference.method == result.name
    if result.kind == "mcmc":
        findings = _mcmc(result.metrics)
    else:
        findings = _guide(result.metrics, CAUTION if trusted else REJECT)
    if reference is None:
        if result.kind == "guide":
            findings.append((CAUTION, _unseen("there is no reference")))
    elif not is_reference:
        if trusted:
            findings += _agreement(result.metrics)
        else:
            findings += _distrusted(result)
    return _verdict(findings, [] if findings else _praise(result, reference, is_reference))


def judge_mcmc(metrics: Mapping) -> Verdict:
    """The verdict of MCMC draws from their own diagnostics alone."""
    return _verdict(_mcmc(metrics), ["the diagnostics are clean"])


def judge_reference(metrics: Mapping, recorded: bool = True) -> Verdict:
    """Whether reference draws deserve the role, from their own diagnostics.

    Args:
        metrics: what :func:`~.metrics.mcmc_metrics` says of them.
        recorded: whether their sampler's statistics should be there; draws without them are
            judged by R-hat and ESS.
    """
    findings = _mcmc(metrics)
    if not recorded:
        findings = [finding for finding in findings if "unknown" not in finding[1]]
    return _verdict(findings, ["the reference's own diagnostics are clean"])


def _verdict(findings: list, praise: list) -> Verdict:
    if not findings:
        return Verdict("trust", tuple(praise))
    level = REJECT if any(found == REJECT for found, _ in findings) else CAUTION
    ordered = sorted(findings, key=lambda finding: finding[0] != REJECT)
    return Verdict(level, tuple(text for _, text in ordered))


def _unseen(why: str) -> str:
    return f"{why}, and k-hat cannot see a mode the guide misses"


def _mcmc(metrics: Mapping) -> list[tuple[str, str]]:
    found = []
    rhat = metrics["rhat"]
    if rhat.value is None:
        found.append((REJECT, f"R-hat: {rhat.note}"))
    elif rhat.value > Rules.max_rhat:
        level = REJECT if rhat.value > Rules.reject_rhat else CAUTION
        text = f"R-hat {rhat.value:.4f} at {rhat.where} is above {Rules.max_rhat}: chains disagree"
        found.append((level, text))
    for name in ("ess_bulk", "ess_tail"):
        size = metrics[name]
        if size.value is not None and size.value < Rules.min_ess:
            level = REJECT if size.value < Rules.reject_ess else CAUTION
            title = name.removeprefix("ess_")
            text = f"{title} ESS {size.value:.0f} at {size.where} is below {Rules.min_ess:.0f}"
            found.append((level, text))
    found += _divergences(metrics["divergences"], metrics["divergent_share"])
    ebfmi = metrics["ebfmi"]
    if ebfmi.value is not None and ebfmi.value < Rules.min_ebfmi:
        text = f"E-BFMI {ebfmi.value:.2f} is below {Rules.min_ebfmi}: energy mixes slowly"
        found.append((CAUTION, text))
    return found


def _divergences(count, share) -> list[tuple[str, str]]:
    if count.value is None:
        return [(CAUTION, f"divergences unknown: {count.note}")]
    if count.value <= Rules.max_divergences:
        return []
    level = REJECT if share.value > Rules.reject_divergent_share else CAUTION
    return [(level, f"{count.value:.0f} divergences {count.note}: the draws may miss a region")]


def _guide(metrics: Mapping, bad_khat: str) -> list[tuple[str, str]]:
    khat = metrics.get("khat")
    if metrics["elbo"].value is None:
        return [(REJECT, f"ELBO: {metrics['elbo'].note}")]
    if khat is None or khat.value is None:
        return [(CAUTION, f"k-hat unknown: {khat.note if khat else 'no weights'}")]
    if khat.value > Rules.max_khat and not _even(metrics):
        text = f"k-hat {khat.value:.2f} is above {Rules.max_khat}: importance weights are unusable"
        return [(bad_khat, text)]
    return []


def _even(metrics: Mapping) -> bool:
    """Whether the weights hardly differ, so that the shape of their tail says nothing."""
    share = metrics["importance_ess_share"].value
    return share is not None and share > Rules.even_ess_share


def _agreement(metrics: Mapping) -> list[tuple[str, str]]:
    """Findings against a trusted reference."""
    found = []
    for moment in MOMENTS:
        excess, limit = metrics[f"{moment}_excess"], Rules.max_error[moment]
        if excess.value is None:
            if moment == "quantile":
                found.append((REJECT, f"no agreement measured: {excess.note}"))
            continue
        if excess.value > limit:
            level = REJECT if excess.value > Rules.reject_factor * limit else CAUTION
            unit = "in log" if moment == "sd" else "reference sd"
            text = (
                f"{TITLES[moment]} of {excess.where} is off by {excess.value:.2f} {unit} "
                f"after {MCSE_FACTOR:.0f} Monte Carlo errors are taken off (limit {limit})"
            )
            found.append((level, text))
    distance, floor = metrics["sliced_wasserstein"], metrics["sliced_wasserstein_floor"]
    if distance.value is not None and floor.value is not None:
        excess = distance.value - floor.value
        if excess > Rules.max_wasserstein:
            level = REJECT if excess > Rules.reject_factor * Rules.max_wasserstein else CAUTION
            text = (
                f"sliced Wasserstein distance {distance.value:.2f} exceeds its noise floor "
                f"{floor.value:.2f} by over {Rules.max_wasserstein}: shapes or dependence differ"
            )
            found.append((level, text))
    return found


def _distrusted(result: MethodResult) -> list[tuple[str, str]]:
    """What can be said next to a reference that is itself not to be trusted."""
    differs = _agreement(result.metrics)
    where = "it differs from" if differs else "it agrees with"
    said = f"{where} the reference, which is itself not trusted: no evidence either way"
    if result.kind == "mcmc":
        return [(CAUTION, said)] if differs else []
    return [(CAUTION, said), (CAUTION, _unseen("no trusted reference"))]


def _praise(result: MethodResult, reference: Reference | None, is_reference: bool) -> list[str]:
    praise = []
    if result.kind == "mcmc":
        praise.append("R-hat, ESS, divergences and E-BFMI are clean")
    else:
        khat = result.metrics["khat"].value
        good = khat <= Rules.max_khat
        praise.append(f"k-hat {khat:.2f} is good" if good else "importance weights are even")
    if reference is not None and not is_reference and reference.trusted:
        praise.append(f"agrees with the reference ({reference.source}) within Monte Carlo error")
    return praise
