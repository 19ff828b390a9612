"""Early stopping on the validation rows, the same for all contestants."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["EarlyStopping"]


@dataclass
class EarlyStopping:
    """Says which evaluation is the best so far, and when ``patience`` of them brought nothing."""

    patience: int
    best: float = -np.inf
    best_step: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    _since: int = 0

    def improved(self, step: int, value: float) -> bool:
        if not np.isfinite(value):
            raise FloatingPointError(
                f"validation log-likelihood must be finite, got {value} at step {step}; lower the "
                "learning rate."
            )
        self.history.append((step, value))
        self._since += 1
        if value <= self.best:
            return False
        self.best, self.best_step, self._since = value, step, 0
        return True

    @property
    def exhausted(self) -> bool:
        return self._since >= self.patience
