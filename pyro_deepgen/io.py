"""Saving and loading of modules, one file format for both twins.

A file is a flat map ``dotted.path -> array`` (safetensors). Writing is atomic: the file is written
beside its place, flushed to disk and renamed. Loading never unpickles.
"""

from pathlib import Path

import safetensors.torch
from torch import nn

from ._numerics.files import check_names_and_shapes, write_atomically

__all__ = ["load", "save"]


def save(path: str | Path, module: nn.Module) -> None:
    """Write the parameters and buffers of a module to one safetensors file.

    Args:
        path: file to write; it is replaced at once, or left as it was.
        module: a module, for example a :class:`~pyro_deepgen.distributions.Flow`.

    Raises:
        TypeError: if ``module`` is no module.

    Example:
        >>> import os, tempfile
        >>> from pyro_deepgen.distributions import maf
        >>> path = os.path.join(tempfile.mkdtemp(), "flow.safetensors")
        >>> flow = maf(3)
        >>> save(path, flow)
        >>> load(path, flow) is flow
        True
    """
    _check_module(module)
    arrays = {name: array.detach().contiguous() for name, array in module.state_dict().items()}
    write_atomically(path, safetensors.torch.save(arrays))


def load(path: str | Path, module: nn.Module) -> nn.Module:
    """Fill a module of the same architecture from a file written by either twin.

    Args:
        path: file to read.
        module: module to fill, in place; arrays are cast to its dtype and device.

    Returns:
        The module.

    Raises:
        ValueError: if names or shapes differ, naming them.
    """
    _check_module(module)
    arrays = safetensors.torch.load_file(path)
    expected = module.state_dict()
    check_names_and_shapes(
        {name: tuple(array.shape) for name, array in arrays.items()},
        {name: tuple(array.shape) for name, array in expected.items()},
    )
    module.load_state_dict(arrays)
    return module


def _check_module(module: nn.Module) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, got {type(module).__name__}; pass the flow itself, "
            "not the distribution that its call gives."
        )
