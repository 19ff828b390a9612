"""Saving and loading of modules, one file format for both twins.

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
from jax import Array

from ._numerics.files import check_names_and_shapes, write_atomically
from .distributions.transforms import Compose, Scan, Transform

__all__ = ["load", "save"]


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
