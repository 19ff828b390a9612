"""Saving and loading of modules and of trained guides, one file format for both twins.

A file is a flat map ``dotted.path -> array`` (safetensors). Writing is atomic: the file is written
beside its place, flushed to disk and renamed. Loading never unpickles.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jax import Array, random
from numpyro import handlers

from ._numerics.files import check_names_and_shapes, write_atomically
from .distributions import FixedMixture, Flow
from .distributions.transforms import Compose, FixedAffine, Scan, Transform
from .infer import AutoFlow
from .infer.starts.fixed_low_rank import FixedLowRank

__all__ = ["load", "load_guide", "save", "save_guide"]


def save(path: str | Path, module: eqx.Module | Transform) -> None:
    """Write the arrays of a module to one safetensors file.

    Args:
        path: file to write; it is replaced at once, or left as it was.
        module: a module, for example a :class:`~numpyro_deepgen.distributions.Flow`.

    Raises:
        TypeError: if ``module`` is no module.

    Example:
        >>> import os, tempfile, jax
        >>> from numpyro_deepgen.distributions import maf
        >>> path = os.path.join(tempfile.mkdtemp(), "flow.safetensors")
        >>> flow = maf(jax.random.key(0), 3)
        >>> save(path, flow)
        >>> load(path, flow).input_dim
        3
    """
    named = _named_arrays(_unstack(module))
    arrays = {name: np.asarray(array, order="C") for name, array in named.items()}
    write_atomically(path, safetensors.numpy.save(arrays))


def load(path: str | Path, module: eqx.Module | Transform) -> eqx.Module | Transform:
    """Fill a module of the same architecture from a file written by either twin.

    Args:
        path: file to read.
        module: module to fill; it is left as it is. Arrays are cast to its dtype.

    Returns:
        A new module.

    Raises:
        ValueError: if names or shapes differ, naming them.
    """
    arrays = safetensors.numpy.load_file(path)
    layers = _unstack(module)
    expected = _named_arrays(layers)
    check_names_and_shapes(
        {name: tuple(array.shape) for name, array in arrays.items()},
        {name: tuple(array.shape) for name, array in expected.items()},
    )
    loaded = {id(old): jnp.asarray(arrays[name], old.dtype) for name, old in expected.items()}
    return _restack(module, jax.tree.map(lambda leaf: loaded.get(id(leaf), leaf), layers))


def _is_scan(node) -> bool:
    return isinstance(node, Scan)


def _unstack(module):
    """Return the module with every scan as the plain sequence of its layers."""

    def convert(node):
        return Compose([_unstack(t) for t in node.transforms]) if _is_scan(node) else node

    return jax.tree.map(convert, module, is_leaf=_is_scan)


def _restack(module, layers):
    """Return ``layers`` with scans where ``module`` has them."""

    def convert(node, plain):
        if not _is_scan(node):
            return plain
        pairs = zip(node.transforms, plain.transforms, strict=True)
        return Scan([_restack(old, new) for old, new in pairs])

    leaves, treedef = jax.tree.flatten(module, is_leaf=_is_scan)
    plain = treedef.flatten_up_to(layers)
    return jax.tree.unflatten(treedef, map(convert, leaves, plain))


def _named_arrays(module: eqx.Module | Transform) -> dict[str, Array]:
    if not isinstance(module, (eqx.Module, Transform)):
        raise TypeError(
            f"module must be an equinox.Module or a Transform, got {type(module).__name__}; pass "
            "the flow itself, not the distribution that its call gives."
        )
    named = dict(_walk(module, ""))
    held = sum(eqx.is_array(leaf) for leaf in jax.tree.leaves(module))
    if len(named) != held:
        raise TypeError(
            f"module must hold its {held} arrays in attributes, lists, tuples and dictionaries, "
            f"got {len(named)} of them there; save the parts one by one."
        )
    return named


def _walk(node, path: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays below a node by their dotted path."""
    if eqx.is_array(node):
        yield path.removesuffix("."), node
    for name, child in _children(node):
        yield from _walk(child, f"{path}{name}.")


def _children(node) -> list[tuple[str, object]]:
    if isinstance(node, eqx.Module):
        fields = [f.name for f in dataclasses.fields(node) if not f.metadata.get("static")]
        return [(name, getattr(node, name)) for name in fields if name in vars(node)]
    if isinstance(node, Transform):
        return [(name, value) for name, value in vars(node).items() if not name.startswith("_")]
    if isinstance(node, dict):
        return [(str(name), value) for name, value in node.items()]
    if isinstance(node, (list, tuple)):
        return [(str(i), value) for i, value in enumerate(node)]
    return []


def save_guide(path: str | Path, guide: AutoFlow, params: dict) -> None:
    """Write a trained flow guide to one safetensors file: the flow, and the start it stands on.

    Args:
        path: file to write; it is replaced at once, or left as it was.
        guide: an :class:`~numpyro_deepgen.infer.AutoFlow` that has been called, without local
            guides.
        params: its parameters, from ``SVI.get_params``.

    Raises:
        TypeError: if ``guide`` is no flow guide.
        ValueError: if it was never called, or has local guides.

    Example:
        >>> import os, tempfile, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro_deepgen.infer import AutoFlow
        >>> def model():
        ...     numpyro.sample("x", dist.Gamma(3.0, 1.0))
        >>> path = os.path.join(tempfile.mkdtemp(), "guide.safetensors")
        >>> save_guide(path, AutoFlow(model, init="init_loc", args=()), {})
        >>> guide = AutoFlow(model)
        >>> params = load_guide(path, guide)
        >>> guide.sample_posterior(random.key(0), params, sample_shape=(5,))["x"].shape
        (5,)
    """
    _check_guide(guide)
    if guide.prototype_trace is None:
        raise ValueError("guide must have been called once, got one that was not; train it first.")
    save(path, guide.get_flow(params))


def load_guide(
    path: str | Path, guide: AutoFlow, args: tuple = (), kwargs: dict | None = None
) -> dict:
    """Fill a flow guide of the same model and recipe from a file written by either twin.

    No start is computed: the guide stands on that of the file, and training goes on from there,
    also with other data (``fit(rng_key, model, guide, args=...)``).

    Args:
        path: file that :func:`save_guide` wrote.
        guide: guide to fill, in place; one that was never called is set up first.
        args: positional arguments of the model, for the setup.
        kwargs: keyword arguments of the model, for the setup.

    Returns:
        The parameters of the guide.

    Raises:
        TypeError: if ``guide`` is no flow guide.
        ValueError: if it has local guides, or names or shapes differ, naming them.
    """
    _check_guide(guide)
    arrays = safetensors.numpy.load_file(path)
    if guide.prototype_trace is None:
        given, guide.init = guide.init, ("init_loc",)
        try:
            with handlers.seed(rng_seed=random.key(0)), handlers.block():
                guide._setup_prototype(*args, **(kwargs or {}))
        finally:
            guide.init = given
    guide._flow = load(path, _on_start(guide._flow, arrays))
    guide.init_report = None
    with handlers.seed(rng_seed=0), handlers.trace() as trace:
        guide.flow()
    return {name: site["value"] for name, site in trace.items() if site["type"] == "param"}


def _on_start(flow: Flow, arrays: dict[str, np.ndarray]) -> Flow:
    """The flow on a start, and a base, of the kind that the arrays are of."""
    expected = {n: tuple(a.shape) for n, a in _named_arrays(_unstack(flow)).items()}
    if {name: tuple(array.shape) for name, array in arrays.items()} == expected:
        return flow
    dtype = flow.transforms[-1].loc.dtype
    arrays = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
    last = f"transforms.{len(flow.transforms) - 1}."
    start = {n.removeprefix(last): a for n, a in arrays.items() if n.startswith(last)}
    base = {n.removeprefix("base_dist."): a for n, a in arrays.items() if n.startswith("base_dist")}
    base_dist, layer = flow.base_dist, flow.transforms[-1]
    if set(base) == {"logits", "loc", "scale_tril"}:
        base_dist = FixedMixture(jnp.exp(base["logits"]), base["loc"], base["scale_tril"])
    if set(start) == {"loc", "scale"}:
        layer = FixedAffine(**start)
    elif set(start) == {"loc", "scale", "frame", "core"}:
        layer = FixedLowRank(**start)
    return Flow(base_dist, [*flow.transforms[:-1], layer])


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
