r"""Log mean weights of a stream of particles, in double precision.

With the running maximum :math:`m` of log weights, all that is kept are the sums
:math:`S_1 = \sum_k e^{\log w_k - m}` and :math:`S_2 = \sum_k e^{2 (\log w_k - m)}`:

.. math::
    \log \hat p = m + \log \frac{S_1}{K}, \qquad \mathrm{ESS} = \frac{S_1^2}{S_2}, \qquad
    \mathrm{se}(\log \hat p) = \sqrt{\frac{K / \mathrm{ESS} - 1}{K - 1}}.
"""

import numpy as np

__all__ = ["StreamingWeights"]


class StreamingWeights:
    """Accumulates log weights of shape ``(k, ...)``, any number of particles ``k`` at a time."""

    def __init__(self):
        self.count = 0
        self._top = self._sum = self._square_sum = np.float64(0.0)
        self._mean = self._spread = np.float64(0.0)

    def add(self, log_weights: np.ndarray) -> None:
        """Take in more particles.

        Raises:
            ValueError: if a log weight is NaN or plus infinity.
        """
        log_weights = np.asarray(log_weights, np.float64)
        bad = np.isnan(log_weights) | (log_weights == np.inf)
        if bad.any():
            raise ValueError(
                "model and guide must have densities that are not NaN or infinite where the guide "
                f"draws, got {int(bad.sum())} of {bad.size} log weights; check the supports and "
                "the training."
            )
        if self.count == 0:
            self._top = np.full(log_weights.shape[1:], -np.inf)
        top = np.maximum(self._top, log_weights.max(0))
        # zero where no weight is positive yet
        reference = np.where(np.isfinite(top), top, 0.0)
        weights = np.exp(log_weights - reference)
        shrink = np.exp(self._top - reference)
        self._sum = self._sum * shrink + weights.sum(0)
        self._square_sum = self._square_sum * shrink**2 + np.square(weights).sum(0)
        self._top = top
        self._add_moments(log_weights)

    def _add_moments(self, log_weights: np.ndarray) -> None:
        """Mean and squared deviations of the log weights (Chan, Golub & LeVeque 1983, eq. 2.1)."""
        count, total = len(log_weights), self.count + len(log_weights)
        with np.errstate(invalid="ignore"):
            mean = log_weights.mean(0)
            step = mean - self._mean
            self._spread = (
                self._spread
                + np.square(log_weights - mean).sum(0)
                + np.square(step) * (self.count * count / total)
            )
            moved = self._mean + step * (count / total)
            # a weight of zero once is a mean of minus infinity for good
            lost = np.isneginf(mean) | np.isneginf(self._mean)
            self._mean = np.where(lost, -np.inf, moved)
        self.count = total

    def log_mean(self) -> np.ndarray:
        """Log of the mean weight."""
        with np.errstate(divide="ignore"):
            return np.where(np.isfinite(self._top), self._top, 0.0) + np.log(self._sum / self.count)

    def ess(self) -> np.ndarray:
        """Effective sample size, 0 where no weight is positive."""
        with np.errstate(invalid="ignore"):
            return np.where(self._sum > 0.0, np.square(self._sum) / self._square_sum, 0.0)

    def log_mean_error(self) -> np.ndarray:
        """Standard error of the log of the mean weight, by the delta method."""
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.maximum(self.count / self.ess() - 1.0, 0.0)
            return np.sqrt(excess / (self.count - 1))

    def mean_log(self) -> np.ndarray:
        """Mean log weight."""
        return self._mean

    def mean_log_error(self) -> np.ndarray:
        """Standard error of the mean log weight."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self._spread / (self.count - 1) / self.count)
