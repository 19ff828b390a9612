"""The whole of a comparison: results in order, reference, model, and what to conclude."""

from dataclasses import dataclass, field
from pathlib import Path

from . import export, report
from .agreement import agreement_metrics
from .metrics import own_metrics
from .reference import reference_from_result
from .results import MethodResult, ModelSummary, Reference
from .settings import Settings
from .verdict import judge

__all__ = ["Comparison"]


@dataclass
class Comparison:
    """Results of several methods on one posterior, judged against a reference.

    Args:
        model: the model's summary.
        settings: shared budgets.
        host: ``"pyro"`` or ``"numpyro"``.
        results: in the order the methods ran.
        reference: the reference draws, or None.
        reference_method: the method whose run is to be the reference, or None.
        versions: package -> version.
        interrupted: whether the user stopped the comparison before all methods ran.
        warnings: lines the reader must see.
        predictive: posterior predictive checks by method, where asked for.
        calibration: simulation-based calibration by method, where asked for.
        notes: lines the reader may want to see.
    """

    model: ModelSummary
    settings: Settings
    host: str
    results: list[MethodResult] = field(default_factory=list)
    reference: Reference | None = None
    reference_method: str | None = None
    versions: dict = field(default_factory=dict)
    interrupted: bool = False
    warnings: list[str] = field(default_factory=list)
    predictive: dict = field(default_factory=dict)
    calibration: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> MethodResult:
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"no method {name!r}; there are {[result.name for result in self.results]}")

    def add(self, result: MethodResult) -> None:
        """Add a finished method and judge all methods anew."""
        if result.error is None:
            result.metrics = own_metrics(result, self.model.latent_shapes)
        self.results.append(result)
        if result.name == self.reference_method and result.error is None:
            self.reference = reference_from_result(result, self.model)
        self.judge()

    def judge(self) -> None:
        """Set the agreement metrics and the verdict of every result, and the warnings."""
        for result in self.results:
            if result.error is None and self._measurable(result):
                reference = self.reference.draws
                sites = self.model.latent_shapes
                result.metrics.update(agreement_metrics(result.draws, reference, sites))
            result.verdict = judge(result, self.reference)
        self.warnings = self._warnings()

    def _measurable(self, result: MethodResult) -> bool:
        reference = self.reference
        if reference is None or reference.method == result.name:
            return False
        return "mean_error_max" not in result.metrics

    def _warnings(self) -> list[str]:
        lines = []
        if self.reference is None:
            missing = "no trusted truth to compare with: guides can miss modes unseen"
            lines.append(f"NO REFERENCE ({missing})")
        elif not self.reference.trusted:
            why = "; ".join(self.reference.verdict.reasons)
            lines.append(f"THE REFERENCE ({self.reference.source}) IS ITSELF NOT TRUSTED: {why}")
        if self.interrupted:
            lines.append("INTERRUPTED: only the finished methods are shown")
        return lines

    def best(self) -> MethodResult | None:
        """The cheapest method, by total wall time, whose verdict is "trust"; None if none is."""
        trusted = [r for r in self.results if r.verdict is not None and r.verdict.level == "trust"]
        return min(trusted, key=lambda result: result.total_seconds, default=None)

    def table(self) -> str:
        """A readable fixed-width table, a verdict line a method, and a conclusion."""
        return report.table(self)

    def to_dict(self) -> dict:
        """Everything but the draws, ready for strict JSON (no NaN or infinity)."""
        return export.to_dict(self)

    def save(self, directory: str | Path, plots: bool = True) -> list[Path]:
        """Write table, JSON, NetCDF of every method, plots and an HTML page of it all.

        Each file appears whole or not at all.


        Args:
            directory: made if it does not exist.
            plots: whether to draw the PNG files too.

        Returns:
            The paths written.
        """
        return export.save(self, Path(directory), plots)
