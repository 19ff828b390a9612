"""Every recipe of both twins, and the peer that comes closest, with as many parameters.

A peer is built by a function of one size (a hidden width, or a number of layers or components);
the size is the one whose parameter count is nearest to the recipe's. Peers that have only one
direction in closed form get the one that scores.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["FAMILIES", "LIBRARIES", "Entry", "entries"]

# the peers' activation
ACTIVATION = "relu"
RECIPES = {
    "nsf_autoregressive": ("nsf", {"kind": "autoregressive"}),
    "nsf_coupling": ("nsf", {"kind": "coupling"}),
}
FAMILIES = (
    *("nice", "realnvp", "flowpp", "maf", "iaf", "nsf_coupling", "nsf_autoregressive", "naf"),
    *("unaf", "bnaf", "sospf", "gaussianization", "planar", "radial", "sylvester"),
)
OURS = ("pyro_deepgen", "numpyro_deepgen")
LIBRARIES = (*OURS, "zuko", "flowjax", "normflows")
PEERS = {
    "nice": ("zuko",),
    "realnvp": ("zuko", "flowjax"),
    "flowpp": ("zuko",),
    "maf": ("zuko", "flowjax"),
    "iaf": ("zuko", "flowjax"),
    "nsf_coupling": ("zuko", "flowjax"),
    "nsf_autoregressive": ("zuko", "flowjax"),
    "naf": ("zuko",),
    "unaf": ("zuko",),
    "bnaf": ("flowjax",),
    "sospf": ("zuko",),
    "gaussianization": ("zuko",),
    "planar": ("normflows", "flowjax"),
    "radial": ("normflows",),
    # Pyro's log-determinant is not that of its map (against autodiff): no density to compare with
    "sylvester": (),
}


@dataclass(frozen=True)
class Entry:
    """A family in one library: ``build(seed)`` gives a model, ``framework`` says how to fit it."""

    family: str
    library: str
    framework: str
    build: Callable
    num_parameters: int
    size: int | None = None


def entries(family: str, input_dim: int, libraries) -> list[Entry]:
    """The recipe in the twins and its peers, as far as these libraries are asked for."""
    target = _count_torch(_recipe_torch(family, input_dim, 0))
    found = []
    for library in (*OURS, *PEERS[family]):
        if library not in libraries:
            continue
        if library == "pyro_deepgen":
            build = functools.partial(_recipe_torch, family, input_dim)
            found.append(Entry(family, library, "torch", build, target))
        elif library == "numpyro_deepgen":
            build = functools.partial(_recipe_jax, family, input_dim)
            found.append(Entry(family, library, "jax", build, target))
        else:
            found.append(_peer(family, library, input_dim, target))
    return found


def _recipe(module, family):
    name, options = RECIPES.get(family, (family, {}))
    return getattr(module, name), options


def _recipe_torch(family: str, input_dim: int, seed: int):
    import torch

    from pyro_deepgen import distributions

    torch.manual_seed(seed)
    recipe, options = _recipe(distributions, family)
    return recipe(input_dim, activation=ACTIVATION, **options)


def _recipe_jax(family: str, input_dim: int, seed: int):
    import jax

    from numpyro_deepgen import distributions

    recipe, options = _recipe(distributions, family)
    return recipe(jax.random.key(seed), input_dim, activation=ACTIVATION, **options)


def _count_torch(module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _count_jax(build) -> int:
    import equinox as eqx
    import jax
    from density_fit_jax import split

    shapes = eqx.filter_eval_shape(build, 0)
    return sum(leaf.size for leaf in jax.tree.leaves(split(shapes)[0]))


def _peer(family: str, library: str, input_dim: int, target: int) -> Entry:
    if library == "flowjax":
        import density_peers_jax as peers
    else:
        import density_peers_torch as peers
    make = peers.PEERS[library, family]
    framework = "jax" if library == "flowjax" else "torch"

    def build(size, seed):
        return make(input_dim, size, seed)

    @functools.cache
    def count(size: int) -> int:
        if framework == "jax":
            return _count_jax(functools.partial(build, size))
        return _count_torch(build(size, 0))

    size = _nearest(count, target)
    build = functools.partial(build, size)
    return Entry(family, library, framework, build, count(size), size)


def _nearest(count: Callable[[int], int], target: int) -> int:
    """The size whose count is nearest to the target; counts increase with the size."""
    low, high = 1, 2
    while count(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return min((low, high), key=lambda size: abs(count(size) - target))
