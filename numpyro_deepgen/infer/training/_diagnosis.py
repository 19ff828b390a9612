"""Which sites and gradients are not finite in a step of SVI."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from numpyro import handlers
from numpyro.infer.elbo import ELBO

__all__ = ["bad_leaves", "bad_sites"]


def bad_leaves(tree) -> list[str]:
    """Names of the parameters of which an entry is not finite."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [_name(path) for path, leaf in leaves if not jnp.isfinite(leaf).all()]


def _name(path: tuple) -> str:
    return f"{path[0].key}{jax.tree_util.keystr(path[1:])}"


def bad_sites(
    rng_key: Array,
    params: dict,
    loss: ELBO,
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: dict,
) -> list[str]:
    """Describe the sites whose value or log density is not finite at the host's particles."""
    found: dict[str, str] = {}
    num_particles = loss.num_particles
    # as the host's bounds split their key
    for key in random.split(rng_key, num_particles) if num_particles > 1 else [rng_key]:
        model_key, guide_key = random.split(key)
        seeded = handlers.substitute(handlers.seed(guide, guide_key), data=params)
        guide_trace = handlers.trace(seeded).get_trace(*args, **kwargs)
        replayed = handlers.replay(handlers.seed(model, model_key), guide_trace)
        seeded = handlers.substitute(replayed, data=params)
        model_trace = handlers.trace(seeded).get_trace(*args, **kwargs)
        for kind, trace in (("model", model_trace), ("guide", guide_trace)):
            for name, site in trace.items():
                if site["type"] == "sample" and (problem := _problem(site)):
                    found.setdefault(f"{name!r} of the {kind}", problem)
    return [f"{site} ({problem})" for site, problem in found.items()]


def _problem(site: dict) -> str:
    density = site["fn"].log_prob(site["value"], *filter(None, [site["intermediates"]]))
    for what, value in (("value", site["value"]), ("log density", density)):
        value = np.asarray(value)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return f"{what} {value[~np.isfinite(value)].flat[0]}"
    return ""
