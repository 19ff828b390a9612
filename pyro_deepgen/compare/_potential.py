"""The potential of a model for the host's HMC, traced where that is faithful."""

import warnings

import torch
from pyro.infer.mcmc.util import initialize_model

from .context import Context
from .settings import Settings

__all__ = ["make_potential"]

NUM_TESTED = 4
TRACE_TOLERANCE = 1e-3


def make_potential(model, context: Context, settings: Settings):
    """Initial points, potential and transforms; the potential is traced if that is faithful.

    Returns:
        Starts (site -> tensor ``(chain,) + shape``), the potential, the transforms by site, and
        what the reader must know.
    """
    options = {"model_args": context.args, "model_kwargs": context.kwargs}
    initial, eager, transforms, _ = initialize_model(
        model, num_chains=settings.num_chains, **options
    )
    if settings.num_chains == 1:
        initial = {site: value[None] for site, value in initial.items()}
    first = {site: value[0] for site, value in initial.items()}
    _, traced, _, _ = initialize_model(
        model,
        initial_params=first,
        jit_compile=True,
        skip_jit_warnings=True,
        **options,
    )
    if _is_faithful(traced, eager, first):
        return initial, traced, transforms, []
    note = "the potential could not be traced: it runs uncompiled"
    return initial, eager, transforms, [note]


def _is_faithful(traced, eager, first: dict) -> bool:
    """Whether the traced potential equals the model's own at other points than its own."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced(first)
            for _ in range(NUM_TESTED):
                point = {site: v + torch.randn_like(v) for site, v in first.items()}
                expected, actual = eager(point), traced(point)
                if not torch.isfinite(expected):
                    continue
                if (actual - expected).abs() > TRACE_TOLERANCE * (1.0 + expected.abs()):
                    return False
    except Exception:
        return False
    return True
