"""Discrete latent sites that are summed out instead of guided."""

from collections.abc import Callable

import pyro
from pyro import poutine
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

__all__ = ["enumerated_log_joint", "enumerated_sites", "plate_nesting"]


def enumerated_sites(trace: poutine.Trace) -> list[str]:
    """Names of the latent sites marked for enumeration.

    Raises:
        ValueError: if a discrete latent site is not.
    """
    found = []
    for name, site in prune_subsample_sites(trace).iter_stochastic_nodes():
        if site["infer"].get("enumerate") == "parallel":
            found.append(name)
        elif site["fn"].support.is_discrete:
            raise ValueError(
                "model must have latent sites that are continuous or marked for enumeration, got "
                f"{name!r}; wrap the model in pyro.infer.config_enumerate and train with "
                "TraceEnum_ELBO, or hide the site from this guide (poutine.block) and guide it in "
                "an AutoGuideList."
            )
    return found


def plate_nesting(trace: poutine.Trace) -> int:
    """Depth of the plates of a trace."""
    sites = prune_subsample_sites(trace).nodes.values()
    dims = [
        frame.dim
        for site in sites
        if site["type"] == "sample"
        for frame in site["cond_indep_stack"]
        if frame.vectorized
    ]
    return -min(dims, default=0)


def enumerated_log_joint(model: Callable, nesting: int, args: tuple, kwargs: dict) -> Tensor:
    """Log joint density, the sites marked for enumeration summed out."""
    model = poutine.enum(model, first_available_dim=-1 - nesting)
    trace = poutine.trace(model).get_trace(*args, **kwargs)
    with pyro.validation_enabled(False):
        return TraceEinsumEvaluator(trace, True, nesting).log_prob(trace)
