"""What every method of a comparison works on: the model, its data, and its summary."""

import warnings
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer.util import initialize_model

from .errors import ModelError
from .results import ModelSummary
from .settings import Settings

__all__ = ["HOST", "Context", "check_model", "make_context", "session", "versions"]

HOST = "numpyro"
PACKAGES = ("numpyro", "jax", "equinox", "arviz", "numpy")


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
    """

    model: Callable
    args: tuple
    kwargs: dict
    summary: ModelSummary
    seed: int = 0
    cache: dict = field(default_factory=dict)

    def rng_key(self, name: str):
        """A key that depends on the seed and the method's name only, not on the methods' order."""
        return random.fold_in(random.PRNGKey(self.seed), zlib.crc32(name.encode()))


@contextmanager
def session(settings: Settings):
    """Precision of the comparison; left as found."""
    with jax.enable_x64(settings.x64):
        yield


def versions() -> dict[str, str]:
    """Versions of the packages a result depends on."""
    return {name: metadata.version(name) for name in PACKAGES}


def make_context(model: Callable, args: tuple, kwargs: dict, settings: Settings) -> Context:
    """Convert the data to the host's arrays, check the model, and put both together."""
    args, kwargs = _convert(args, kwargs)
    summary = check_model(model, args, kwargs, settings.seed)
    return Context(model, args, kwargs, summary, settings.seed)


def _convert(args: tuple, kwargs: dict | None) -> tuple[tuple, dict]:
    named = {name: _to_host(value) for name, value in (kwargs or {}).items()}
    return tuple(_to_host(value) for value in args), named


def _to_host(value):
    """Arrays as JAX arrays of the current precision; single numbers as Python's own."""
    if isinstance(value, np.ndarray | np.generic):
        return value.item() if value.ndim == 0 else jnp.asarray(value)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating):
        return value.astype(jnp.zeros(()).dtype)
    return value


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
    trace = _trace(model, args, kwargs, seed)
    latent, discrete, observed, latent_dim = {}, [], [], 0
    for name, site in trace.items():
        if site["type"] != "sample":
            continue
        if site["is_observed"]:
            observed.append(name)
        elif site["fn"].support is not None and site["fn"].support.is_discrete:
            discrete.append(name)
        else:
            latent[name] = tuple(jnp.shape(site["value"]))
            latent_dim += _unconstrained_size(name, site)
    if not latent:
        extra = f" (only the discrete {', '.join(discrete)})" if discrete else ""
        raise ModelError(
            f"the model has no continuous latent site{extra}: nothing to infer; are all its "
            "sample statements given obs?"
        )
    _check_density(trace)
    if not discrete:
        _check_start(model, args, kwargs, seed)
    name = getattr(model, "__name__", type(model).__name__)
    return ModelSummary(name, latent, latent_dim, tuple(discrete), tuple(observed))


def _trace(model: Callable, args: tuple, kwargs: dict, seed: int):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return handlers.trace(handlers.seed(model, seed)).get_trace(*args, **kwargs)
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
    return int(np.prod(transform.inverse_shape(jnp.shape(site["value"])), dtype=int))


def _check_density(trace) -> None:
    """Refuse sites whose log density at a draw from the prior is NaN."""
    for name, site in trace.items():
        if site["type"] != "sample":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log_prob = np.asarray(site["fn"].log_prob(site["value"]))
        if np.any(np.isnan(log_prob)):
            count = int(np.sum(np.isnan(log_prob)))
            raise ModelError(
                f"the log density of site {name!r} is NaN in {count} of {log_prob.size} entries "
                "at a draw from the prior: look for NaN data or parameters out of range"
            )


def _check_start(model: Callable, args: tuple, kwargs: dict, seed: int) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            initialize_model(random.PRNGKey(seed), model, model_args=args, model_kwargs=kwargs)
    except RuntimeError as error:
        message = " ".join(str(error).split())[:300]
        raise ModelError(
            f"no starting point with a finite log density and gradient was found: {message}"
        ) from error
