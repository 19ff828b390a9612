"""The steps of a fit on this host: ``SVI.update`` in compiled chunks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax
from jax import Array, lax, random
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.elbo import ELBO
from numpyro.infer.svi import SVIState
from numpyro.optim import optax_to_numpyro

from ..elbo.base import describe, schedule_of
from ..elbo.schedules import weights_of_steps
from ._diagnosis import bad_leaves, bad_sites
from ._optimizer import RatedState, rated
from ._ordered_elbo import ordered
from ._policies import MAX_SKIPPED, Skipped, Turns
from ._state_arrays import from_arrays, to_arrays
from .minibatches import Minibatches
from .settings import FitSettings

__all__ = ["SVITrainer"]

NUM_PARTICLES = 8


class State(NamedTuple):
    """State of training: the host's own, and that of what is asked for besides, or None."""

    svi: SVIState
    average: Any
    skipped: Skipped | None = None
    turns: Turns | None = None


class SVITrainer:
    """State of a fit and its steps, as the trainer of ``loop`` is described.

    Args:
        rng_key: key of the start and of every step.
        model: model of the host.
        guide: guide of the host.
        arguments: their ``(args, kwargs)``.
        held_out: ``(args, kwargs)`` for evaluations, or None.
        loss: a bound, or None for the default.
        optimizer: function of the rate, or None for Adam.
        settings: the settings of the fit.
    """

    def __init__(
        self,
        rng_key: Array,
        model: Callable,
        guide: Callable,
        arguments: tuple[tuple, dict],
        held_out: tuple[tuple, dict] | None,
        loss: ELBO | None,
        optimizer: Callable | None,
        settings: FitSettings,
    ):
        self.held_out, self._schedule = held_out is not None, schedule_of(loss)
        self.num_warmup_steps = getattr(self._schedule, "num_steps", 0)
        self._held_out_arguments, self._settings = held_out, settings
        self._optimizer_name = "adam" if optimizer is None else _name(optimizer)
        self._chunk_size, self._key = settings.evaluate_every, rng_key
        transformation = rated(optimizer or optax.adam, settings.clip_norm)
        args, self._kwargs = arguments
        self._minibatches = Minibatches(args, _is_array, settings.batch_size, self._draw_seed)
        self._bad_rows = self._minibatches.rows(0, 1)[0]
        args, kwargs = self._minibatches.take(self._bad_rows), self._kwargs
        self._bound = loss or Trace_ELBO()
        self._svi = SVI(model, guide, optax_to_numpyro(transformation), ordered(self._bound))
        state = self._svi.init(rng_key, *args, **kwargs)
        if loss is None and state.mutable_state is None:
            self._bound = Trace_ELBO(num_particles=NUM_PARTICLES)
            self._svi.loss = ordered(self._bound)
        params = _params(state)
        if not jax.tree.leaves(params):
            raise ValueError(
                "guide must have parameters to train, got none; pass a guide with at least one."
            )
        if settings.aggressive_steps:
            names = _names_of_guide(self._svi, params, args, kwargs)
            transformation = rated(optimizer or optax.adam, settings.clip_norm, names)
            self._svi.optim = optax_to_numpyro(transformation)
            state = state._replace(optim_state=self._svi.optim.init(params))
        self._state = State(
            state,
            None if settings.average is None else params,
            None if settings.skip_norm is None else Skipped.none(),
            Turns.first() if settings.aggressive_steps else None,
        )
        self._kept = {which: (params, state.mutable_state) for which in ("best", "older")}
        extra = {} if self._schedule is None else {"kl_weight": jnp.ones(())}
        if _has_slow_loops(self._svi, state, args, {**kwargs, **extra}):
            self._chunk_size = 1
        self._advance = jax.jit(self._chunk)
        self._loss = jax.jit(self._held_out_loss)

    def fingerprint(self) -> dict:
        """What decides the result besides the settings."""
        loss = self._bound
        return {
            "host": "numpyro",
            "loss": describe(loss) or f"{type(loss).__name__}(num_particles={loss.num_particles})",
            "optimizer": self._optimizer_name,
            "held_out": self.held_out,
            "rng_key": to_arrays(self._key)[""].tolist(),
        }

    def _draw_seed(self) -> int:
        return int(random.bits(random.fold_in(self._key, 2)))

    @property
    def num_skipped(self) -> int:
        """Number of steps that were left out."""
        return 0 if self._state.skipped is None else int(self._state.skipped.total)

    def _chunk(
        self,
        state: State,
        rates: Array,
        weights: Array,
        kl_weights: Array,
        rows: Array,
        data: tuple[Array, ...],
        first: Array,
        count: Array,
    ):
        """Take ``count`` steps, stopping before one that is not finite.

        Returns:
            The state, the losses, the number of good steps, and the last loss and gradient norm.
        """

        def goes_on(carry):
            _, _, done, _, good = carry
            return good & (done < count)

        def step(carry):
            state, losses, done, _, _ = carry
            extra = {} if self._schedule is None else {"kl_weight": kl_weights[done]}
            args = self._minibatches.take(rows[done], data)
            turn = self._turn(state, first + done)
            start = _set_rate(state.svi, rates[done], turn)
            svi, loss = self._svi.update(start, *args, **self._kwargs, **extra)
            norm = _rated(svi).norm
            average = _move(state.average, _params(svi), weights[done])
            turns = None if turn is None else state.turns.after(turn, loss)
            new = State(svi, average, state.skipped, turns)
            state, good = self._take(state, new, loss, norm)
            losses = losses.at[done].set(jnp.where(jnp.isfinite(loss), loss, jnp.nan))
            return state, losses, done + good, (loss, norm), good

        args_of_first = (jnp.zeros_like(rates[0]), _rated(state.svi).norm)
        loss_type = jax.eval_shape(step, (state, rates, 0, args_of_first, True))[3]
        last = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), loss_type)
        carry = (state, jnp.zeros(rates.shape, last[0].dtype), jnp.array(0), last, jnp.array(True))
        if self._chunk_size == 1:
            state, losses, done, last, _ = step(carry)
        else:
            state, losses, done, last, _ = lax.while_loop(goes_on, step, carry)
        return state, losses, done, last

    def _turn(self, state: State, step: Array) -> Array | None:
        """Whose parameters move in a step, or None where all always do."""
        if state.turns is None:
            return None
        return state.turns.of(step, self._settings.aggressive_steps)

    def _take(self, old: State, new: State, loss: Array, norm: Array) -> tuple[State, Array]:
        """The state after a step that may be left out, and whether training goes on."""
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        if old.skipped is None:
            return _select(finite, new, old), finite
        skipped = ~finite | (norm > self._settings.skip_norm)
        counts = old.skipped.after(skipped)
        left_out = old._replace(svi=old.svi._replace(rng_key=new.svi.rng_key), skipped=counts)
        taken = _select(skipped, left_out, new._replace(skipped=counts))
        goes_on = ~skipped | (counts.in_a_row <= MAX_SKIPPED)
        return _select(goes_on, taken, old), goes_on

    def advance(
        self,
        rates: np.ndarray,
        weights: np.ndarray,
        losses: list,
        stop: Callable[[], bool],
        first: int = 0,
    ) -> str:
        """Take a step for each rate; stop before one that is not finite and say what was not."""
        dtype = _rated(self._state.svi).rate.dtype
        kl_weights = np.ones(len(rates))
        if self._schedule is not None:
            kl_weights = weights_of_steps(self._schedule, first, first + len(rates))
        for start in range(0, len(rates), self._chunk_size):
            if stop():
                break
            count = min(self._chunk_size, len(rates) - start)
            padding = (0, self._chunk_size - count)
            part = slice(start, start + count)
            inputs = [
                jnp.asarray(np.pad(x[part], padding), dtype) for x in (rates, weights, kl_weights)
            ]
            rows = self._minibatches.rows(first + start, first + start + count)
            inputs += [
                jnp.asarray(np.pad(rows, (padding, (0, 0)))),
                tuple(map(jnp.asarray, self._minibatches.arrays)),
                jnp.array(first + start),
                jnp.array(count),
            ]
            self._state, found, done, last = self._advance(self._state, *inputs)
            losses += np.asarray(found, np.float64)[: int(done)].tolist()
            if done < count:
                self._bad_rows = rows[int(done)]
                loss, norm = map(float, last)
                finite = np.isfinite(loss)
                return f"gradients of norm {norm}" if finite else f"loss {loss}"
        return ""

    def diagnose(self) -> str:
        """The sites and parameters that are not finite in the step that was refused."""
        args, kwargs = self._minibatches.take(self._bad_rows), self._kwargs
        state, svi = self._state.svi, self._svi
        # as the host's update splits its key
        _, rng_key = random.split(state.rng_key)
        mutable = state.mutable_state or {}
        bound = getattr(svi.loss, "evaluation", svi.loss)

        def loss(params):
            params = {**svi.constrain_fn(params), **mutable}
            if mutable:
                found = bound.loss_with_mutable_state(
                    rng_key, params, svi.model, svi.guide, *args, **kwargs
                )
                return found["loss"]
            return bound.loss(rng_key, params, svi.model, svi.guide, *args, **kwargs)

        with numpyro.validation_enabled(False):
            parameters = [repr(name) for name in bad_leaves(jax.grad(loss)(_params(state)))]
            params = {**svi.constrain_fn(_params(state)), **mutable}
            try:
                sites = bad_sites(rng_key, params, svi.loss, svi.model, svi.guide, args, kwargs)
            except Exception as error:
                sites = [f"unknown, as running them raised {type(error).__name__}"]
        return (
            f"sites: {', '.join(sites) or 'none'}; "
            f"parameters with such a gradient: {', '.join(parameters) or 'none'}"
        )

    def _held_out_loss(self, state: SVIState, params: dict) -> Array:
        args, kwargs = self._held_out_arguments
        count, (_, inner) = state.optim_state
        rng_key = random.fold_in(self._key, 1)
        state = SVIState((count, (params, inner)), state.mutable_state, rng_key)
        bound = getattr(self._bound, "evaluation", None)
        if bound is None:
            return self._svi.evaluate(state, *args, **kwargs)
        svi = SVI(self._svi.model, self._svi.guide, self._svi.optim, bound)
        svi.constrain_fn = self._svi.constrain_fn
        return svi.evaluate(state, *args, **kwargs)

    def evaluate(self) -> float:
        """The loss on held-out arguments, with the same randomness every time."""
        return float(self._loss(self._state.svi, self._candidate()))

    def _candidate(self) -> dict:
        average = self._state.average
        return _params(self._state.svi) if average is None else average

    def remember(self) -> None:
        """Keep the parameters as the best ones, and the best ones until now as the older ones."""
        best = (self._candidate(), self._state.svi.mutable_state)
        self._kept = {"best": best, "older": self._kept["best"]}

    def finish(self, which: str) -> dict:
        """Return the ``'best'``, ``'older'`` or ``'last'`` parameters, constrained."""
        last = (self._candidate(), self._state.svi.mutable_state)
        params, mutable = self._kept.get(which, last)
        return {**self._svi.constrain_fn(params), **(mutable or {})}

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of the whole state, the random state included."""
        return to_arrays({"state": self._state, **self._kept})

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Go back to a state that :meth:`arrays` gave."""
        found = from_arrays(arrays, {"state": self._state, **self._kept})
        self._state = found.pop("state")
        self._kept = found


def _params(state: SVIState) -> dict:
    """The unconstrained parameters."""
    _, (params, _) = state.optim_state
    return params


def _rated(state: SVIState) -> RatedState:
    _, (_, inner) = state.optim_state
    return inner


def _is_array(value) -> bool:
    return isinstance(value, (Array, np.ndarray))


def _has_slow_loops(svi: SVI, state: SVIState, args: tuple, kwargs: dict) -> bool:
    """Whether steps are faster one by one: on CPUs XLA's convolutions are slow inside a loop."""
    if jax.default_backend() != "cpu":
        return False
    mutable = state.mutable_state or {}

    def loss(params):
        bound = svi.loss.loss_with_mutable_state if mutable else svi.loss.loss
        params = {**svi.constrain_fn(params), **mutable}
        found = bound(state.rng_key, params, svi.model, svi.guide, *args, **kwargs)
        return found["loss"] if mutable else found

    return "conv_general_dilated" in str(jax.make_jaxpr(loss)(_params(state)))


def _names_of_guide(svi: SVI, params: dict, args: tuple, kwargs: dict) -> frozenset[str]:
    """Names of the parameters that the guide meets."""
    guide = handlers.substitute(svi.guide, data=svi.constrain_fn(params))
    sites = handlers.trace(handlers.seed(guide, 0)).get_trace(*args, **kwargs).values()
    return frozenset(site["name"] for site in sites if site["type"] == "param")


def _set_rate(state: SVIState, rate: Array, turn: Array | None) -> SVIState:
    count, (params, inner) = state.optim_state
    return state._replace(optim_state=(count, (params, inner._replace(rate=rate, turn=turn))))


def _move(average, params, weight: Array):
    """One step of the running mean, or None where there is none."""
    if average is None:
        return None
    return jax.tree.map(lambda m, p: m + weight.astype(m.dtype) * (p - m), average, params)


def _select(condition: Array, one, other):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _name(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
