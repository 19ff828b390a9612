"""One optimiser of the framework over all parameters, its state by parameter name."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ._parameters import Parameters, as_array, as_tensor

__all__ = ["NamedOptimizer"]

FUSED = ("cpu", "cuda")


def adam(values: list[Tensor], rate: float) -> torch.optim.Optimizer:
    """Adam, whose step is one call for all parameters where the framework has it."""
    fused = all(value.is_floating_point() and value.device.type in FUSED for value in values)
    return torch.optim.Adam(values, rate, fused=fused)


class NamedOptimizer:
    """An optimiser that parameters may join and leave.

    Args:
        factory: function of parameters and rate that gives a ``torch.optim.Optimizer``, or None for
            Adam.
        parameters: what to optimise.
    """

    def __init__(self, factory: Callable | None, parameters: Parameters):
        self._parameters = parameters
        self._optimizer = (factory or adam)(list(parameters.values.values()), 1e-3)
        if not isinstance(self._optimizer, torch.optim.Optimizer):
            raise TypeError(
                "optimizer must give an optimiser of the host's framework, got "
                f"{type(self._optimizer).__name__}; pass for example its Adam."
            )

    def step(self, rate: float) -> None:
        """Move the parameters along their gradients."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def add(self, name: str) -> None:
        """Let a parameter join."""
        self._optimizer.add_param_group({"params": [self._parameters.values[name]]})

    def drop(self, value: Tensor) -> None:
        """Let a parameter leave, with its state."""
        self._optimizer.state.pop(value, None)
        groups = self._optimizer.param_groups
        for group in groups:
            group["params"] = [other for other in group["params"] if other is not value]
        groups[:] = [group for group in groups if group["params"]]

    def arrays(self) -> dict[str, np.ndarray]:
        """The state as ``name/key`` -> array; a number's key is followed by its type."""
        found = {}
        for name, value in self._parameters.values.items():
            for key, entry in self._optimizer.state.get(value, {}).items():
                if isinstance(entry, Tensor):
                    found[f"{name}/{key}"] = as_array(entry)
                elif isinstance(entry, (bool, int, float)):
                    found[f"{name}/{key}:{type(entry).__name__}"] = np.asarray(entry)
                elif entry is not None:
                    raise TypeError(
                        "optimizer must keep tensors and numbers as its state, got "
                        f"{type(entry).__name__} for {key!r}; pass another, for example Adam."
                    )
        return found

    def load(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Set the state of one parameter from what :meth:`arrays` gave."""
        value = self._parameters.values[name]
        state = {}
        for path, array in arrays.items():
            owner, _, key = path.rpartition("/")
            if owner != name:
                continue
            key, _, number = key.partition(":")
            state[key] = array.item() if number else self._tensor(array, value)
        self._optimizer.state.pop(value, None)
        if state:
            self._optimizer.state[value] = state

    def _tensor(self, array: np.ndarray, value: Tensor) -> Tensor:
        # counts of steps stay on the CPU unless the whole step runs on the device
        group = self._optimizer.param_groups[0]
        if array.ndim == 0 and not (group.get("capturable") or group.get("fused")):
            return torch.as_tensor(array).clone()
        return as_tensor(array, value)
