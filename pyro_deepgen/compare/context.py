"""What every method of a comparison works on: the model, its data, and its summary."""

import random
import warnings
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer.mcmc.util import initialize_model
from pyro.poutine.subsample_messenger import _Subsample
from torch.distributions import biject_to

from .batching import find_batching, nesting
from .errors import ModelError
from .results import ModelSummary
from .settings import Settings

__all__ = ["HOST", "Context", "check_model", "make_context", "session", "versions"]

HOST = "pyro"
PACKAGES = ("pyro-ppl", "torch", "arviz", "numpy")


@dataclass
class Context:
    """A model with its data, ready to run.

    Args:
        model: the host's model.
        args: its positional arguments.
        kwargs: its keyword arguments.
        summary: what its trace says.
        seed: of the comparison.
        cache: trained guides, for methods that build on them.
        max_plate_nesting: depth of the model's plates.
        batching: how the model runs on many draws: ``"plate"``, ``"vmap"`` or ``"loop"``.
    """

    model: Callable
    args: tuple
    kwargs: dict
    summary: ModelSummary
    seed: int = 0
    cache: dict = field(default_factory=dict)
    max_plate_nesting: int = 0
    batching: str = "loop"

    def set_seed(self, name: str) -> None:
        """Seed the host by the seed and the method's name only, not by the methods' order."""
        pyro.set_rng_seed((1000003 * self.seed + zlib.crc32(name.encode())) % 2**32)


@contextmanager
def session(settings: Settings):
    """Precision, threads, parameters and random state of the comparison; left as found."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (Pyro seeds it)
    try:
        with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
            torch.set_default_dtype(torch.float64 if settings.x64 else torch.float32)
            # The tensors are tiny: one thread is faster than several.
            torch.set_num_threads(1)
            pyro.set_rng_seed(settings.seed)
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def versions() -> dict[str, str]:
    """Versions of the packages a result depends on."""
    return {name: metadata.version(name) for name in PACKAGES}


def make_context(model: Callable, args: tuple, kwargs: dict, settings: Settings) -> Context:
    """Convert the data to the host's tensors, check the model, and put both together."""
    args, kwargs = _convert(args, kwargs)
    summary = check_model(model, args, kwargs, settings.seed)
    context = Context(model, args, kwargs, summary, settings.seed)
    with _quiet():
        context.max_plate_nesting = nesting(model, args, kwargs)
        if not summary.discrete:
            context.batching = find_batching(context)
    return context


def _convert(args: tuple, kwargs: dict | None) -> tuple[tuple, dict]:
    named = {name: _to_host(value) for name, value in (kwargs or {}).items()}
    return tuple(_to_host(value) for value in args), named


def _to_host(value):
    """Arrays as tensors of the current precision; single numbers as Python's own."""
    if isinstance(value, np.ndarray | np.generic):
        if value.ndim == 0:
            return value.item()
        value = torch.from_numpy(np.array(value))
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(torch.get_default_dtype())
    return value


@contextmanager
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_model(model: Callable, args: tuple = (), kwargs: dict | None = None, seed: int = 0):
    """Trace the model once and say what it holds.

    Args:
        model: the host's model.
        args: its positional arguments, in the host's arrays or NumPy's.
        kwargs: its keyword arguments, likewise.
        seed: of the trace.

    Returns:
        A :class:`~.results.ModelSummary`.

    Raises:
        ModelError: if the model cannot run on its data, has no latent site, or no starting point
            with a finite log density is found.
    """
    args, kwargs = _convert(args, kwargs)
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        trace = _trace(model, args, kwargs)
        latent, discrete, observed, latent_dim = {}, [], [], 0
        for name, site in trace.nodes.items():
            if site["type"] != "sample" or isinstance(site["fn"], _Subsample):
                continue
            if site["is_observed"]:
                if not site["infer"].get("_deterministic", False):
                    observed.append(name)
            elif site["fn"].support.is_discrete:
                discrete.append(name)
            else:
                latent[name] = tuple(site["value"].shape)
                latent_dim += _unconstrained_size(name, site)
        if not latent:
            extra = f" (only the discrete {', '.join(discrete)})" if discrete else ""
            raise ModelError(
                f"the model has no continuous latent site{extra}: nothing to infer; are all its "
                "sample statements given obs?"
            )
        _check_density(trace)
        if not discrete:
            _check_start(model, args, kwargs)
    name = getattr(model, "__name__", type(model).__name__)
    return ModelSummary(name, latent, latent_dim, tuple(discrete), tuple(observed))


def _trace(model: Callable, args: tuple, kwargs: dict):
    try:
        return poutine.trace(model).get_trace(*args, **kwargs)
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        kind = type(error).__name__
        raise ModelError(f"the model fails on its data: {kind}: {message}") from error


def _unconstrained_size(name: str, site: dict) -> int:
    try:
        transform = biject_to(site["fn"].support)
    except NotImplementedError as error:
        raise ModelError(
            f"latent site {name!r} has a support without a bijection to the reals: "
            f"{site['fn'].support}; reparameterise it"
        ) from error
    return int(transform.inv(site["value"]).numel())


def _check_density(trace) -> None:
    """Refuse sites whose log density at a draw from the prior is NaN."""
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or isinstance(site["fn"], _Subsample):
            continue
        try:
            log_prob = site["fn"].log_prob(site["value"])
        except ValueError as error:
            message = " ".join(str(error).split())[:300]
            raise ModelError(f"site {name!r} refuses its value: {message}") from error
        bad = torch.isnan(log_prob)
        if bad.any():
            raise ModelError(
                f"the log density of site {name!r} is NaN in {int(bad.sum())} of {bad.numel()} "
                "entries at a draw from the prior: look for NaN data or parameters out of range"
            )


def _check_start(model: Callable, args: tuple, kwargs: dict) -> None:
    try:
        initialize_model(model, args, kwargs)
    except ValueError as error:
        message = " ".join(str(error).split())[:300]
        raise ModelError(
            f"no starting point with a finite log density and gradient was found: {message}"
        ) from error
