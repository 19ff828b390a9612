"""The host's random state: read, set, and left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["get_random_state", "set_random_state", "unmoved_random_state"]


def get_random_state(device: torch.device | None = None) -> dict[str, Tensor]:
    """The state of the CPU's generator, and of the device's if it is a GPU.

    Without a device that of the current GPU goes with it, where one is in use.
    """
    found = {"cpu": torch.get_rng_state()}
    if device is None and torch.cuda.is_initialized():
        device = torch.device("cuda")
    if device is not None and device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_state(state: dict[str, Tensor], device: torch.device | None = None) -> None:
    """Set what :func:`get_random_state` read; a GPU's state is left out on a CPU."""
    torch.set_rng_state(state["cpu"])
    device = torch.device("cuda") if device is None else device
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def unmoved_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Leave the random state as it was found."""
    state = get_random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)
