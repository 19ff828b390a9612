"""Host transforms that hold arrays and networks, as pytrees.

Arrays are data; all else is static: hashed, compared and compiled in. What is data is decided on
the object as built. Copies that JAX makes (with tracers, axes or None in the place of arrays)
remember it.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

__all__ = ["PytreeTransform"]

STRUCTURE = "_structure"


class PytreeTransform(dist.transforms.Transform):
    """A transform of the host whose attributes are its state."""

    def tree_flatten(self):
        attributes = self._attributes()
        leaves, treedef, is_data = _split(attributes, vars(self).get(STRUCTURE))
        data = tuple(leaf for leaf, kept in zip(leaves, is_data, strict=True) if kept)
        static = tuple(leaf for leaf, kept in zip(leaves, is_data, strict=True) if not kept)
        return data, (treedef, is_data, static)

    @classmethod
    def tree_unflatten(cls, aux_data, params):
        treedef, is_data, static = aux_data
        data, static = iter(params), iter(static)
        leaves = [next(data) if kept else next(static) for kept in is_data]
        self = cls.__new__(cls)
        vars(self).update(jax.tree.unflatten(treedef, leaves))
        vars(self)[STRUCTURE] = (treedef, is_data)
        return self

    def replaced(self, **attributes) -> "PytreeTransform":
        """Return a copy with other values of some attributes."""
        new = object.__new__(type(self))
        vars(new).update(vars(self) | attributes)
        vars(new).pop("_inv", None)
        return new

    def eq(self, other: object, static: bool = False):
        """Whether ``other`` is of this class with equal settings and arrays.

        With ``static`` the answer is a bool, and arrays under tracing are equal only if identical.
        """
        if type(other) is not type(self):
            return False
        data, aux = self.tree_flatten()
        other_data, other_aux = other.tree_flatten()
        if aux != other_aux:
            return False
        pairs = list(zip(data, other_data, strict=True))
        if static:
            return all(_equal_statically(a, b) for a, b in pairs)
        return jnp.all(jnp.array([jnp.array_equal(a, b) for a, b in pairs], dtype=bool))

    def __eq__(self, other: object) -> bool:
        return bool(self.eq(other, static=True))

    def __hash__(self) -> int:
        return id(self)

    def __getstate__(self) -> dict[str, Any]:
        return self._attributes()

    def _attributes(self) -> dict[str, Any]:
        hidden = ("_inv", STRUCTURE)
        return {name: value for name, value in sorted(vars(self).items()) if name not in hidden}


def _split(attributes: dict[str, Any], structure: tuple | None):
    """Return the leaves of the attributes, their tree, and which of them are data."""
    if structure is not None:
        treedef, is_data = structure
        try:
            return treedef.flatten_up_to(attributes), treedef, is_data
        except (ValueError, TypeError, KeyError):
            # an attribute was replaced by one of another structure
            pass
    leaves, treedef = jax.tree.flatten(attributes)
    return leaves, treedef, tuple(eqx.is_array(leaf) for leaf in leaves)


def _equal_statically(a, b) -> bool:
    if a is b:
        return True
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    return bool(jnp.array_equal(a, b))
