"""Which sites of model and guide are not finite in a step of SVI."""

from collections.abc import Callable

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO

__all__ = ["bad_sites"]


@torch.no_grad()
def bad_sites(loss: ELBO, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> list[str]:
    """Describe the sites whose value or log density is not finite, with the present randomness."""
    found = {}
    with pyro.validation_enabled(False), poutine.block():
        # with validation on, a density that is not finite would raise before all are seen
        for traces in loss._get_traces(model, guide, args, kwargs):
            for kind, trace in zip(("model", "guide"), traces, strict=True):
                for name, node in trace.nodes.items():
                    if node["type"] == "sample" and (problem := _problem(node)):
                        found.setdefault(f"{name!r} of the {kind}", problem)
    return [f"{site} ({problem})" for site, problem in found.items()]


def _problem(node: dict) -> str:
    for what, value in (("value", node["value"]), ("log density", _log_density(node))):
        if isinstance(value, torch.Tensor) and not value.isfinite().all():
            return f"{what} {value[~value.isfinite()].flatten()[0].item()}"
    return ""


def _log_density(node: dict):
    if "log_prob" in node:
        return node["log_prob"]
    return node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"])
