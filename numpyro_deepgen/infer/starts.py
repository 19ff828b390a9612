r"""Gaussian starts for a flow guide, compared by their ELBO.

Each start proposes :math:`q(z) = N(m, L L^T)` on the unconstrained space. The one with the highest
evidence lower bound, estimated with common noise, becomes the affine layer the flow stands on. The
whole comparison is traceable: it runs under ``jit`` too, where the choice is made on the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax, random

from .._numerics.checks import check_choice
from .latent_space import UnconstrainedDensity

__all__ = ["STARTS", "Start", "StartReport", "best_start"]

INIT_SCALE = 0.1
NUM_ELBO_DRAWS = 128
MEAN_FIELD_STEPS = 400
MEAN_FIELD_PARTICLES = 8
MEAN_FIELD_LEARNING_RATE = 0.05
MAX_NEWTON_STEPS = 200


class Start(NamedTuple):
    """A Gaussian: ``loc`` of shape ``(D,)``, ``scale`` of shape ``(D,)`` or lower ``(D, D)``."""

    loc: Array
    scale: Array

    def draw(self, noise: Array) -> Array:
        return self.loc + (noise * self.scale if self.scale.ndim == 1 else noise @ self.scale.mT)

    def log_scale(self) -> Array:
        return jnp.log(self.scale if self.scale.ndim == 1 else self.scale.diagonal()).sum()


@dataclass
class StartReport:
    """What the comparison of starts found.

    Attributes:
        elbo: estimated bound of each start that worked, in nats.
        failed: reason of each start that did not.
        chosen: name of the start taken.
    """

    elbo: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    chosen: str = ""


def best_start(
    rng_key: Array,
    names: Sequence[str],
    density: UnconstrainedDensity,
    init_loc: Array,
    dense: bool,
) -> tuple[Start, StartReport | None]:
    """Compute the starts called ``names`` and return the one with the highest ELBO.

    Returns:
        The start, and the report (None under ``jit``).

    Raises:
        ValueError: if every start fails or has a bound that is not finite; the reasons are named.
    """
    failed, names = {}, list(names)
    if not dense and "laplace" in names:
        names.remove("laplace")
        size = init_loc.size
        failed["laplace"] = f"its Hessian is not computed beyond the dense limit (D={size})"

    @jax.jit
    def compute(rng_key, init_loc):
        noise_key, start_key = random.split(rng_key)
        noise = random.normal(noise_key, (NUM_ELBO_DRAWS, init_loc.size), init_loc.dtype)
        keys = random.split(start_key, len(names))
        starts = [
            STARTS[name](key, density, init_loc) for name, key in zip(names, keys, strict=True)
        ]
        if dense:
            starts = [_as_dense(start) for start in starts]
        elbos = jnp.stack([_elbo(density, start, noise) for start in starts])
        best = jnp.argmax(jnp.where(jnp.isfinite(elbos), elbos, -jnp.inf))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves)[best], *starts), elbos, best

    if not names:
        _raise_no_start(failed)
    start, elbos, best = compute(rng_key, init_loc)
    if isinstance(elbos, jax.core.Tracer):
        return start, None
    report = StartReport(failed=failed, chosen=names[int(best)])
    for name, elbo in zip(names, elbos.tolist(), strict=True):
        if jnp.isfinite(elbo):
            report.elbo[name] = elbo
        else:
            report.failed[name] = _REASONS.get(name, "{elbo}").format(elbo=f"its ELBO is {elbo}")
    if not report.elbo:
        _raise_no_start(report.failed)
    return start, report


def check_starts(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of starts as a tuple, or raise if one is unknown or there is none."""
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names:
        raise ValueError(f"init must name at least one start, got none; pass {tuple(STARTS)}.")
    return tuple(check_choice("init", name, tuple(STARTS)) for name in names)


def _raise_no_start(failed: dict[str, str]) -> None:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    raise ValueError(
        f"init must hold a start that works on this model, got {list(failed)} ({reasons}); "
        "pass an init_loc_fn at which the log density is finite."
    )


def _as_dense(start: Start) -> Start:
    return start if start.scale.ndim == 2 else Start(start.loc, jnp.diag(start.scale))


def _elbo(density: UnconstrainedDensity, start: Start, noise: Array) -> Array:
    entropy = start.log_scale() - jax.scipy.stats.norm.logpdf(noise).sum(-1).mean()
    return density.batch(start.draw(noise)).mean() + entropy


def _from_init_loc(rng_key: Array, density: UnconstrainedDensity, init_loc: Array) -> Start:
    return Start(init_loc, jnp.full_like(init_loc, INIT_SCALE))


def _laplace(rng_key: Array, density: UnconstrainedDensity, init_loc: Array) -> Start:
    """Mode by L-BFGS, covariance from the inverse Hessian; NaN where it is not definite."""
    mode = _find_mode(density, init_loc)
    precision = -jax.hessian(density)(mode)
    precision = 0.5 * (precision + precision.mT)
    # L^-T of the reversed factor gives the lower factor of the inverse
    factor = jnp.linalg.cholesky(jnp.flip(precision))
    identity = jnp.eye(mode.size, dtype=mode.dtype)
    return Start(mode, jax.scipy.linalg.solve_triangular(jnp.flip(factor).mT, identity, lower=True))


def _find_mode(density: UnconstrainedDensity, init_loc: Array) -> Array:
    def loss(point):
        return -density(point)

    optimizer = optax.lbfgs(memory_size=20)
    value_and_grad = optax.value_and_grad_from_state(loss)
    tolerance = 100.0 * jnp.finfo(init_loc.dtype).eps

    def step(carry):
        point, state, _, count = carry
        value, grad = value_and_grad(point, state=state)
        updates, state = optimizer.update(grad, state, point, value=value, grad=grad, value_fn=loss)
        moved = jnp.abs(updates).max() / (1.0 + jnp.abs(point).max())
        return optax.apply_updates(point, updates), state, moved, count + 1

    def goes_on(carry):
        _, _, moved, count = carry
        return (count < MAX_NEWTON_STEPS) & (moved > tolerance)

    state = (init_loc, optimizer.init(init_loc), jnp.full((), jnp.inf, init_loc.dtype), 0)
    return lax.while_loop(goes_on, step, state)[0]


def _mean_field(rng_key: Array, density: UnconstrainedDensity, init_loc: Array) -> Start:
    """A short mean-field fit by Adam on the reparameterised ELBO."""
    optimizer = optax.adam(optax.cosine_decay_schedule(MEAN_FIELD_LEARNING_RATE, MEAN_FIELD_STEPS))

    def loss(params, noise):
        loc, log_scale = params
        return -density.batch(loc + noise * jnp.exp(log_scale)).mean() - log_scale.sum()

    def step(carry, key):
        params, state = carry
        noise = random.normal(key, (MEAN_FIELD_PARTICLES, init_loc.size), init_loc.dtype)
        grads = jax.grad(loss)(params, noise)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

    params = (init_loc, jnp.full_like(init_loc, jnp.log(INIT_SCALE)))
    keys = random.split(rng_key, MEAN_FIELD_STEPS)
    ((loc, log_scale), _), _ = lax.scan(step, (params, optimizer.init(params)), keys)
    return Start(loc, jnp.exp(log_scale))


STARTS: dict[str, Callable[[Array, UnconstrainedDensity, Array], Start]] = {
    "init_loc": _from_init_loc,
    "laplace": _laplace,
    "mean_field": _mean_field,
}

_REASONS = {
    "laplace": "the search for the mode diverged or the Hessian there is not negative definite"
}
