"""Which steps of training are taken, and by which parameters."""

import math

import numpy as np

__all__ = ["MAX_SKIPPED", "Skipping", "Turns"]

MAX_SKIPPED = 100
MAX_GUIDE_STEPS = 100
WINDOW = 10


class Skipping:
    """Steps that are left out because their gradients are too large (Child 2021, section 5.1).

    Args:
        largest_norm: largest norm of a step that is taken, or None to leave out none.
    """

    def __init__(self, largest_norm: float | None):
        self.largest_norm = largest_norm
        self.in_a_row = self.total = 0

    def leaves_out(self, loss: float, norm: float) -> bool:
        """Whether to go on without this step, and count it."""
        if self.largest_norm is None:
            return False
        if math.isfinite(loss) and norm <= self.largest_norm:
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        self.total += 1
        return self.in_a_row <= MAX_SKIPPED

    def array(self) -> np.ndarray:
        """The counts."""
        return np.array([self.in_a_row, self.total])

    def load(self, array: np.ndarray) -> None:
        """Set the counts."""
        self.in_a_row, self.total = array.tolist()


class Turns:
    """Whose turn a step is: aggressive training of the guide (He et al. 2019, algorithm 1).

    In the first steps the guide is trained until the mean loss of ten steps is above that of the
    ten before, or for a hundred steps; then the model takes one step, and so on.

    Args:
        num_steps: number of steps with turns; afterwards all parameters move together.
    """

    def __init__(self, num_steps: int):
        self.num_steps = num_steps
        self.restart()

    def restart(self) -> None:
        """Begin the turn of the guide."""
        self.count, self.total, self.before = 0, 0.0, math.inf

    def of(self, step: int) -> str:
        """``'guide'``, ``'model'`` or ``'all'``."""
        if step >= self.num_steps:
            return "all"
        return "model" if self.count < 0 else "guide"

    def add(self, step: int, loss: float) -> None:
        """Count a step that was taken."""
        turn = self.of(step)
        if turn == "model":
            self.restart()
        if turn != "guide":
            return
        self.count, self.total = self.count + 1, self.total + loss
        if self.count % WINDOW == 0:
            if self.total > self.before or self.count >= MAX_GUIDE_STEPS:
                self.count = -1
            self.total, self.before = 0.0, self.total

    def array(self) -> np.ndarray:
        """The state."""
        return np.array([self.count, self.total, self.before])

    def load(self, array: np.ndarray) -> None:
        """Set the state."""
        count, self.total, self.before = array.tolist()
        self.count = int(count)
