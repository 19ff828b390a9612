"""Objects of the host as constants: what is no parameter of a module and is not saved with it."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Constant", "is_traced"]


class Constant:
    """A distribution, transform or constraint of the host, static and compared by value.

    Args:
        value: a pytree of concrete arrays; they are kept as NumPy arrays, plain numbers as such.
    """

    def __init__(self, value):
        self.value = jax.tree.map(_freeze, value)

    def cast(self, dtype):
        """Return the object with its floating arrays in this dtype."""

        def convert(leaf):
            if isinstance(leaf, np.ndarray) and np.issubdtype(leaf.dtype, np.inexact):
                return jnp.asarray(leaf, dtype)
            return leaf

        return jax.tree.map(convert, self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return False
        leaves, treedef = jax.tree.flatten(self.value)
        other_leaves, other_treedef = jax.tree.flatten(other.value)
        return treedef == other_treedef and all(map(np.array_equal, leaves, other_leaves))

    def __repr__(self) -> str:
        return f"Constant({self.value!r})"

    def __hash__(self) -> int:
        return hash(type(self.value))


def is_traced(value) -> bool:
    """Return whether a pytree holds values under tracing."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def _freeze(leaf):
    return leaf if isinstance(leaf, (bool, int, float)) else np.asarray(leaf)
