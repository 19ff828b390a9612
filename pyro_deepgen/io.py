"""Saving and loading of modules and of trained guides, one file format for both twins.

A file is a flat map ``dotted.path -> array`` (safetensors). Writing is atomic: the file is written
beside its place, flushed to disk and renamed. Loading never unpickles.
"""

from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from ._numerics.files import check_names_and_shapes, write_atomically
from .distributions import FixedMixture, Flow
from .distributions.transforms import FixedAffine
from .infer import AutoFlow
from .infer.starts.fixed_low_rank import FixedLowRank

__all__ = ["load", "load_guide", "save", "save_guide"]


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


def save_guide(path: str | Path, guide: AutoFlow) -> None:
    """Write a trained flow guide to one safetensors file: the flow, and the start it stands on.

    Args:
        path: file to write; it is replaced at once, or left as it was.
        guide: an :class:`~pyro_deepgen.infer.AutoFlow` that has been called, without local guides.

    Raises:
        TypeError: if ``guide`` is no flow guide.
        ValueError: if it was never called, or has local guides.

    Example:
        >>> import os, tempfile, pyro, pyro.distributions as dist
        >>> from pyro_deepgen.infer import AutoFlow
        >>> def model():
        ...     pyro.sample("x", dist.Gamma(3.0, 1.0))
        >>> path = os.path.join(tempfile.mkdtemp(), "guide.safetensors")
        >>> save_guide(path, AutoFlow(model, init="init_loc", args=()))
        >>> guide = load_guide(path, AutoFlow(model))
        >>> guide.sample_posterior((5,))["x"].shape
        torch.Size([5])
    """
    _check_guide(guide)
    if guide.prototype_trace is None:
        raise ValueError("guide must have been called once, got one that was not; train it first.")
    save(path, guide.flow)


def load_guide(
    path: str | Path, guide: AutoFlow, args: tuple = (), kwargs: dict | None = None
) -> AutoFlow:
    """Fill a flow guide of the same model and recipe from a file written by either twin.

    No start is computed: the guide stands on that of the file, and training goes on from there,
    also with other data (``fit(model, guide, args=...)``).

    Args:
        path: file that :func:`save_guide` wrote.
        guide: guide to fill, in place; one that was never called is set up first.
        args: positional arguments of the model, for the setup.
        kwargs: keyword arguments of the model, for the setup.

    Returns:
        The guide.

    Raises:
        TypeError: if ``guide`` is no flow guide.
        ValueError: if it has local guides, or names or shapes differ, naming them.
    """
    _check_guide(guide)
    arrays = safetensors.torch.load_file(path)
    if guide.prototype_trace is None:
        given, guide.init = guide.init, ("init_loc",)
        try:
            guide._setup_prototype(*args, **(kwargs or {}))
        finally:
            guide.init = given
    flow = _on_start(guide.flow, arrays)
    load(path, flow)
    guide.flow, guide.init_report = flow, None
    return guide


def _on_start(flow: Flow, arrays: dict[str, Tensor]) -> Flow:
    """The flow on a start, and a base, of the kind that the arrays are of."""
    last = f"transforms.{len(flow.transforms) - 1}."
    start = {n.removeprefix(last): a for n, a in arrays.items() if n.startswith(last)}
    base = {n.removeprefix("base_dist."): a for n, a in arrays.items() if n.startswith("base_dist")}
    found = {name: tuple(array.shape) for name, array in arrays.items()}
    if found == {name: tuple(array.shape) for name, array in flow.state_dict().items()}:
        return flow
    base_dist, layer = flow.base_dist, flow.transforms[-1]
    if set(base) == {"logits", "loc", "scale_tril"}:
        base_dist = FixedMixture(base["logits"].exp(), base["loc"], base["scale_tril"])
    if set(start) == {"loc", "scale"}:
        layer = FixedAffine(**start)
    elif set(start) == {"loc", "scale", "frame", "core"}:
        layer = FixedLowRank(**start)
    return Flow(base_dist, [*flow.transforms[:-1], layer]).to(flow.transforms[-1].loc)


def _check_guide(guide: AutoFlow) -> None:
    if not isinstance(guide, AutoFlow):
        raise TypeError(
            f"guide must be an AutoFlow, got {type(guide).__name__}; save the parameters of other "
            "guides as the host does."
        )
    if guide._local_settings is not None:
        raise ValueError(
            "guide must have no local guides, got one that does; save the parameters as the host "
            "does."
        )
