"""A tree of arrays and keys as a flat map of NumPy arrays, and back."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from .checkpoint import check_arrays

__all__ = ["from_arrays", "to_arrays"]


def to_arrays(tree) -> dict[str, np.ndarray]:
    """The leaves by path; keys as their words, and what NumPy has no type for widened."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _to_array(leaf) for path, leaf in leaves}


def from_arrays(arrays: dict[str, np.ndarray], like):
    """The tree of the form of ``like`` that :func:`to_arrays` described.

    Raises:
        ValueError: if a leaf is missing, unexpected, or of another shape or type.
    """
    expected = to_arrays(like)
    check_arrays(arrays, expected)
    leaves, structure = jax.tree.flatten(like)
    restored = [
        _from_array(arrays[name], leaf) for name, leaf in zip(expected, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, restored)


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_array(leaf: Array) -> np.ndarray:
    array = np.array(random.key_data(leaf) if _is_key(leaf) else leaf)
    return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array


def _from_array(array: np.ndarray, like: Array) -> Array:
    if _is_key(like):
        return random.wrap_key_data(jnp.asarray(array), impl=random.key_impl(like))
    return jnp.asarray(array, like.dtype)
