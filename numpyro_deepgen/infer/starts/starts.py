r"""Gaussian starts for a flow guide, compared by their ELBO.

Each start proposes :math:`q(z) = N(m, L L^T)` on the unconstrained space. The one with the highest
evidence lower bound, estimated with common noise, becomes the affine layer the flow stands on.
Laplace and Pathfinder share one path to the mode. The whole comparison is traceable: it runs under
``jit`` too, where the choice is made on the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax, random

from ..._numerics.checks import check_choice
from ..latent_space import UnconstrainedDensity
from .gaussian import Gaussian
from .pathfinder import best_on_path
from .quasi_newton import PathPoint, ascent

if TYPE_CHECKING:
    from ..annealing.result import AnnealedResult

__all__ = ["ANNEALED", "DEFAULT_STARTS", "StartReport", "best_start", "check_starts"]

ANNEALED = "annealed"
INIT_SCALE = 0.1
NUM_ELBO_DRAWS = 128
MEAN_FIELD_STEPS = 400
MEAN_FIELD_PARTICLES = 8
MEAN_FIELD_LEARNING_RATE = 0.05
NUM_RESTARTS = 8
RESTART_RADIUS = 2.0
MAX_DENSE_DIM = 1000
HESSIAN_CHUNK_SIZE = 200


@dataclass
class StartReport:
    """What the comparison of starts found.

    Attributes:
        elbo: estimated bound of each start that worked, in nats.
        failed: reason of each start that did not.
        chosen: name of the start taken.
        annealed: :class:`AnnealedResult` of the start ``'annealed'``, where it was computed: the
            evidence and the modes that it found.
    """

    elbo: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    chosen: str = ""
    annealed: "AnnealedResult | None" = field(default=None, repr=False)


class Setting:
    """What the starts share: the log density, where to begin, and the path from there to a mode.

    Attributes:
        last: end of the path, if a start called for it.
        best: the Gaussian of Pathfinder, if it was called for.
    """

    def __init__(
        self,
        rng_key: Array,
        names: Sequence[str],
        density: UnconstrainedDensity,
        init_loc: Array,
    ):
        self.density, self.init_loc = density, init_loc
        self.last: PathPoint | None = None
        self.best: Gaussian | None = None
        if "pathfinder" in names:
            self.last, self.best = best_on_path(rng_key, density, init_loc)
        elif "laplace" in names:
            self.last, _ = ascent(density, init_loc, lambda place, seen: seen, ())


def best_start(
    rng_key: Array, names: Sequence[str], density: UnconstrainedDensity, init_loc: Array
) -> tuple[Gaussian, StartReport | None]:
    """Compute the Gaussian starts called ``names`` and return the one with the highest ELBO.

    ``'annealed'`` is passed over; where nothing else is named, ``'init_loc'`` is computed.

    Returns:
        The start, with a dense scale up to 1000 dimensions, and the report (None under ``jit``).

    Raises:
        ValueError: if every start fails or has a bound that is not finite; the reasons are named.
    """
    names = [name for name in dict.fromkeys(names) if name != ANNEALED] or ["init_loc"]
    failed: dict[str, str] = {}
    dense = init_loc.size <= MAX_DENSE_DIM
    if not dense and "laplace" in names:
        names.remove("laplace")
        size = init_loc.size
        failed["laplace"] = f"its Hessian is not computed beyond the dense limit (D={size})"

    @jax.jit
    def compute(rng_key, init_loc):
        noise_key, path_key, start_key = random.split(rng_key, 3)
        noise = random.normal(noise_key, (NUM_ELBO_DRAWS, init_loc.size), init_loc.dtype)
        setting = Setting(path_key, names, density, init_loc)
        keys = random.split(start_key, len(names))
        starts = _alike(
            [STARTS[name](key, setting) for name, key in zip(names, keys, strict=True)], dense
        )
        # one program for all bounds
        elbos = lax.map(lambda start: _elbo(density, start, noise), starts)
        best = jnp.argmax(jnp.where(jnp.isfinite(elbos), elbos, -jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], starts), elbos, best

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
    if not dense and report.chosen != "pathfinder":
        start = Gaussian(start.loc, start.scale)
    return start, report


def _alike(starts: list[Gaussian], dense: bool) -> Gaussian:
    """The starts in one form, stacked."""
    if dense:
        starts = [start.dense() for start in starts]
    else:
        ranks = [start.core.shape[-1] for start in starts if start.core is not None]
        starts = [start.low_rank(ranks[0]) if ranks else start for start in starts]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)


def check_starts(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of starts as a tuple, or raise if one is unknown or there is none."""
    names = (names,) if isinstance(names, str) else tuple(names)
    known = (*STARTS, ANNEALED)
    if not names:
        raise ValueError(f"init must name at least one start, got none; pass {known}.")
    return tuple(check_choice("init", name, known) for name in names)


def _raise_no_start(failed: dict[str, str]) -> None:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    raise ValueError(
        f"init must hold a start that works on this model, got {list(failed)} ({reasons}); "
        "pass an init_loc_fn at which the log density is finite."
    )


def _elbo(density: UnconstrainedDensity, start: Gaussian, noise: Array) -> Array:
    return density.batch(start.draw(noise)).mean() + start.entropy(noise)


def _from_init_loc(rng_key: Array, setting: Setting) -> Gaussian:
    return Gaussian(setting.init_loc, jnp.full_like(setting.init_loc, INIT_SCALE))


def _laplace(rng_key: Array, setting: Setting) -> Gaussian:
    """The mode, and the inverse Hessian there as covariance; NaN where it is not definite."""
    mode = setting.last.point
    precision = -_hessian(setting.density, mode)
    precision = 0.5 * (precision + precision.mT)
    # L^-T of the reversed factor gives the lower factor of the inverse
    factor = jnp.linalg.cholesky(jnp.flip(precision))
    identity = jnp.eye(mode.size, dtype=mode.dtype)
    scale = jax.scipy.linalg.solve_triangular(jnp.flip(factor).mT, identity, lower=True)
    return Gaussian(jnp.where(jnp.isfinite(setting.last.value), mode, jnp.nan), scale)


def _hessian(density: UnconstrainedDensity, point: Array) -> Array:
    """The Hessian, some rows at a time."""
    identity = jnp.eye(point.size, dtype=point.dtype)

    def row(tangent: Array) -> Array:
        return jax.jvp(jax.grad(density), (point,), (tangent,))[1]

    if point.size <= HESSIAN_CHUNK_SIZE:
        return jax.vmap(row)(identity)
    return lax.map(row, identity, batch_size=HESSIAN_CHUNK_SIZE)


def _mean_field(rng_key: Array, setting: Setting) -> Gaussian:
    """A short mean-field fit by Adam on the reparameterised ELBO."""
    return _fit_mean_field(rng_key, setting.density, setting.init_loc)


def _multi_start(rng_key: Array, setting: Setting) -> Gaussian:
    """The best of several short mean-field fits, from places around the initial location."""
    place_key, fit_key, noise_key = random.split(rng_key, 3)
    shape, dtype = (NUM_RESTARTS, setting.init_loc.size), setting.init_loc.dtype
    shifts = random.uniform(place_key, shape, dtype, -RESTART_RADIUS, RESTART_RADIUS)
    keys = random.split(fit_key, NUM_RESTARTS)
    fits = jax.vmap(_fit_mean_field, (0, None, 0))(keys, setting.density, setting.init_loc + shifts)
    noise = random.normal(noise_key, (NUM_ELBO_DRAWS, setting.init_loc.size), dtype)
    elbos = jax.vmap(lambda fit: _elbo(setting.density, fit, noise))(fits)
    best = jnp.argmax(jnp.where(jnp.isfinite(elbos), elbos, -jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], fits)


def _fit_mean_field(rng_key: Array, density: UnconstrainedDensity, init_loc: Array) -> Gaussian:
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
    return Gaussian(loc, jnp.exp(log_scale))


def _pathfinder(rng_key: Array, setting: Setting) -> Gaussian:
    """The best Gaussian on the path to the mode."""
    return setting.best


STARTS: dict[str, Callable[[Array, Setting], Gaussian]] = {
    "init_loc": _from_init_loc,
    "laplace": _laplace,
    "mean_field": _mean_field,
    "pathfinder": _pathfinder,
    "multi_start": _multi_start,
}
# several fits cost as much as several starts, and annealing finds more
DEFAULT_STARTS = ("init_loc", "laplace", "mean_field", "pathfinder")

_REASONS = {
    "laplace": "the search for the mode diverged or the Hessian there is not negative definite",
    "pathfinder": "no point on the path to the mode gives a finite ELBO",
}
