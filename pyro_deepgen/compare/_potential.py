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
    """Whether the traced potential equals the model's own, with gradients, at other points."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced(first)
            for _ in range(NUM_TESTED):
                point = {site: v + torch.randn_like(v) for site, v in first.items()}
                expected, actual = _value_and_grads(eager, point), _value_and_grads(traced, point)
                if not all(found.isfinite().all() for found in expected):
                    continue
                if not all(_is_close(*pair) for pair in zip(actual, expected, strict=True)):
                    return False
    except Exception:
        return False
    return True


def _value_and_grads(potential, point: dict) -> list[torch.Tensor]:
    point = {site: v.detach().clone().requires_grad_() for site, v in point.items()}
    value = potential(point)
    return [value.detach(), *torch.autograd.grad(value, list(point.values()))]


def _is_close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    largest = TRACE_TOLERANCE * (1.0 + expected.abs().max())
    return bool((found - expected).abs().max() <= largest)
