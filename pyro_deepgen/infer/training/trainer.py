"""The steps of a fit on this host: the gradients of ``SVI`` under one optimiser."""

import math
from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO, SVI, Trace_ELBO
from torch import Tensor

from .._random_state import get_random_state, set_random_state, unmoved_random_state
from .._vectorize import plate_nesting_if_vectorizable
from ..elbo.base import describe, schedule_of
from ..elbo.schedules import weights_of_steps
from ._diagnosis import bad_sites
from ._host_words import first_lines, quiet, without_searching
from ._optimizer import NamedOptimizer
from ._parameters import Parameters, as_array, as_tensor
from ._policies import Skipping, Turns
from .checkpoint import check_arrays
from .minibatches import Minibatches
from .settings import FitSettings

__all__ = ["SVITrainer"]

NUM_PARTICLES = 8
# what a host raises far out, where it validates or factorises
NUMERICAL_ERRORS = (ValueError, ArithmeticError, torch.linalg.LinAlgError)


class SVITrainer:
    """State of a fit and its steps, as the trainer of ``loop`` is described.

    Args:
        model: model of the host.
        guide: guide of the host.
        arguments: their ``(args, kwargs)``.
        held_out: ``(args, kwargs)`` for evaluations, or None.
        loss: a bound, or None for the default.
        optimizer: function of parameters and rate, or None for Adam.
        settings: the settings of the fit.
    """

    def __init__(
        self,
        model: Callable,
        guide: Callable,
        arguments: tuple[tuple, dict],
        held_out: tuple[tuple, dict] | None,
        loss: ELBO | None,
        optimizer: Callable | None,
        settings: FitSettings,
    ):
        self.model, self.guide, self.held_out = model, guide, held_out is not None
        self._schedule = schedule_of(loss)
        self.num_warmup_steps = getattr(self._schedule, "num_steps", 0)
        self._held_out_arguments = held_out
        self._clip_norm, self._averages = settings.clip_norm, settings.average is not None
        args, kwargs = arguments
        self._minibatches = Minibatches(args, _is_tensor, settings.batch_size, _draw_seed, _rows_of)
        self._kwargs = kwargs
        self._cut(self._minibatches.rows(0, 1)[0])
        self._skipping, self._turns = Skipping(settings.skip_norm), Turns(settings.aggressive_steps)
        self.parameters = Parameters(model, guide)
        self._build_guide(loss)
        self.parameters.close()
        if not self.parameters.values:
            raise ValueError(
                "guide must have parameters to train, got none; pass a guide with at least one."
            )
        self._optimizer_name = "Adam" if optimizer is None else _name(optimizer)
        self._optimizer = NamedOptimizer(optimizer, self.parameters)
        self._device = next(iter(self.parameters.values.values())).device
        self._of_guide = self._met_by_guide()
        self._seed = _draw_seed()
        self._average = self._means()
        self._best = self._older = self.parameters.copies()
        self._pending: dict[str, np.ndarray] = {}
        self._bad_gradients: list[str] = []
        self._norm, self._moved = 0.0, False

    def _build_guide(self, loss: ELBO | None) -> None:
        """Run once what builds guides, parameters and bounds at their first call."""
        args, kwargs = self._arguments
        self._set_loss(loss or Trace_ELBO())
        with quiet():
            self._run_loss(self._kl_weights(0, 1)[0])
            if loss is None:
                nesting = plate_nesting_if_vectorizable(self.model, self.guide, args, kwargs)
                options = {} if nesting is None else {"max_plate_nesting": nesting}
                vectorize = nesting is not None
                self._set_loss(Trace_ELBO(NUM_PARTICLES, vectorize_particles=vectorize, **options))
        self.parameters.clear_gradients()

    def _cut(self, rows: np.ndarray) -> None:
        """Take these rows as the arguments of the step."""
        self._arguments = self._minibatches.take(torch.as_tensor(rows)), self._kwargs

    def _met_by_guide(self) -> set[str]:
        """Names of the parameters of the guide, where they may have a turn of their own."""
        if not self._turns.num_steps:
            return set()
        args, kwargs = self._arguments
        with unmoved_random_state(self._device), torch.no_grad():
            with poutine.trace(param_only=True) as capture:
                self.guide(*args, **kwargs)
        nodes = capture.trace.nodes.values()
        met = {id(node["value"].unconstrained()) for node in nodes if node["type"] == "param"}
        return {name for name, value in self.parameters.values.items() if id(value) in met}

    @property
    def num_skipped(self) -> int:
        """Number of steps that were left out."""
        return self._skipping.total

    def _set_loss(self, loss: ELBO) -> None:
        # the host's optimiser is never called: it keeps one for each parameter
        self._loss = loss
        self._svi = SVI(self.model, self.guide, pyro.optim.SGD({"lr": 0.0}), loss)

    def _kl_weights(self, start: int, stop: int) -> list[dict]:
        """What the bound is told of each step besides the arguments of the model."""
        if self._schedule is None:
            return [{}] * (stop - start)
        weights = weights_of_steps(self._schedule, start, stop).tolist()
        return [{"kl_weight": weight} for weight in weights]

    def _run_loss(self, extra: dict) -> tuple[float, list[str]]:
        """The loss, its gradients left on the parameters, and the names of new parameters."""
        args, kwargs = self._arguments
        self.parameters.clear_gradients()
        with poutine.trace(param_only=True) as capture:
            loss = self._svi.loss_and_grads(self.model, self.guide, *args, **kwargs, **extra)
        return _number(loss), self.parameters.adopt(capture.trace)

    def fingerprint(self) -> dict:
        """What decides the result besides the settings."""
        loss = self._loss
        return {
            "host": "pyro",
            "loss": describe(loss)
            or f"{type(loss).__name__}(num_particles={loss.num_particles}, "
            f"vectorize_particles={loss.vectorize_particles})",
            "optimizer": self._optimizer_name,
            "held_out": self.held_out,
        }

    def advance(
        self,
        rates: np.ndarray,
        weights: np.ndarray,
        losses: list,
        stop: Callable[[], bool],
        first: int = 0,
    ) -> str:
        """Take a step for each rate; stop before one that is not finite and say what was not."""
        with quiet(), without_searching():
            steps = range(first, first + len(rates))
            extras = self._kl_weights(first, first + len(rates))
            rows = self._minibatches.rows(first, first + len(rates))
            inputs = (steps, rates.tolist(), weights.tolist(), extras, rows)
            for step, rate, weight, extra, chosen in zip(*inputs, strict=True):
                if stop():
                    break
                self._cut(chosen)
                random_state = get_random_state(self._device)
                try:
                    value = self._loss_and_gradients(random_state, extra)
                except BaseException as error:
                    # at the start an error is the model's own
                    numerical = self._moved and isinstance(error, NUMERICAL_ERRORS)
                    if numerical and self._skipping.leaves_out(math.nan, math.nan):
                        losses.append(math.nan)
                        continue
                    set_random_state(random_state, self._device)
                    if numerical:
                        return f"{type(error).__name__} ({first_lines(error)})"
                    raise
                self._give_turn(self._turns.of(step))
                failure = self._failure(value)
                if self._skipping.leaves_out(value, self._norm):
                    losses.append(value if math.isfinite(value) else math.nan)
                    continue
                if failure:
                    set_random_state(random_state, self._device)
                    return failure
                self._step(rate, weight)
                self._turns.add(step, value)
                losses.append(value)
        return ""

    def _give_turn(self, turn: str) -> None:
        """Leave gradients to the parameters that move in this step."""
        if turn != "all":
            names = self._of_guide
            others = self.parameters.values.keys() - names if turn == "guide" else names
            self.parameters.clear_gradients(others)

    def _loss_and_gradients(self, random_state: dict[str, Tensor], extra: dict) -> float:
        """The loss of a step; parameters that are new join before it counts."""
        self._bad_gradients = []
        while True:
            value, added = self._run_loss(extra)
            resumed = [name for name in added if f"late/{name}" in self._pending]
            self._of_guide = self._met_by_guide() if added else self._of_guide
            for name in added:
                self._optimizer.add(name)
                if self._averages and name not in self._average:
                    self._average[name] = self.parameters.values[name].detach().clone()
            if not resumed:
                return value
            # known to the checkpoint: the step runs again with the values from there
            for name in resumed:
                self._restore(name, self._pending)
            self._pending = _only(self._pending, self._waiting(self._pending))
            set_random_state(random_state, self._device)

    def _failure(self, value: float) -> str:
        self._norm = float(self.parameters.norm())
        if math.isfinite(value) and math.isfinite(self._norm):
            return ""
        self._bad_gradients = self.parameters.bad_gradients()
        finite = math.isfinite(value)
        return f"gradients of norm {self._norm}" if finite else f"loss {value}"

    @torch.no_grad()
    def _step(self, rate: float, weight: float) -> None:
        if self._clip_norm is not None and self._norm > self._clip_norm:
            self.parameters.scale_gradients(self._clip_norm, self._norm)
        self._optimizer.step(rate)
        self._moved = True
        for name, mean in self._average.items():
            if name in self.parameters.values:
                mean.add_(weight * (self.parameters.values[name] - mean))

    def diagnose(self) -> str:
        """The sites and parameters that are not finite in the step that was refused."""
        args, kwargs = self._arguments
        with unmoved_random_state(self._device), quiet():
            try:
                sites = bad_sites(self._loss, self.model, self.guide, args, kwargs)
            except Exception as error:
                sites = [f"unknown, as running them raised {type(error).__name__}"]
        parameters = [repr(name) for name in self._bad_gradients]
        return (
            f"sites: {', '.join(sites) or 'none'}; "
            f"parameters with such a gradient: {', '.join(parameters) or 'none'}"
        )

    def evaluate(self) -> float:
        """The loss on held-out arguments, with the same randomness every time."""
        args, kwargs = self._held_out_arguments
        current = self.parameters.copies()
        self.parameters.fill(self._average)
        try:
            with unmoved_random_state(self._device), quiet():
                torch.manual_seed(self._seed)
                return _number(self._svi.evaluate_loss(*args, **kwargs))
        finally:
            self.parameters.fill(current)

    def remember(self) -> None:
        """Keep the parameters as the best ones, and the best ones until now as the older ones."""
        means = {name: mean.clone() for name, mean in self._average.items()}
        self._older, self._best = self._best, self.parameters.copies() | means

    def finish(self, which: str) -> dict[str, Tensor]:
        """Put the ``'best'``, ``'older'`` or ``'last'`` parameters in place and return them."""
        kept = {"best": self._best, "older": self._older, "last": self._average}
        self.parameters.fill(kept[which])
        self.parameters.clear_gradients()
        return self.parameters.constrained()

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of the whole state, the random state included."""
        late = self.parameters.late()
        kinds = {
            "parameter": {k: v for k, v in self._targets().items() if k not in late},
            "late": {k: self.parameters.values[k] for k in late},
            "average": self._average,
            "best": self._best,
            "older": self._older,
            "random": get_random_state(self._device) | {"evaluations": torch.tensor(self._seed)},
        }
        found = dict(self._pending)
        if self._skipping.largest_norm is not None:
            found["policy/skipping"] = self._skipping.array()
        if self._turns.num_steps:
            found["policy/turns"] = self._turns.array()
        if self._minibatches.batch_size is not None:
            found["policy/minibatches"] = np.array(self._minibatches.seed)
        for kind, tensors in kinds.items():
            found |= {f"{kind}/{name}": as_array(tensor) for name, tensor in tensors.items()}
        return found | {f"optimizer/{k}": v for k, v in self._optimizer.arrays().items()}

    @torch.no_grad()
    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Go back to a state that :meth:`arrays` gave."""
        late = _group(arrays, "late")
        early = {k: v for k, v in self._targets().items() if k not in self.parameters.late()}
        found = _group(arrays, "parameter") | {k: v for k, v in late.items() if k in early}
        check_arrays(found, {name: as_array(value) for name, value in early.items()})
        for name in self.parameters.late():
            if name not in late:
                self._optimizer.drop(self.parameters.drop(name))
        for name in self._targets():
            self._restore(name, arrays)
        self._average, self._best, self._older = (
            {name: self._tensor(array, name) for name, array in _group(arrays, kind).items()}
            for kind in ("average", "best", "older")
        )
        random_state = {k: torch.as_tensor(v) for k, v in _group(arrays, "random").items()}
        self._seed = int(random_state.pop("evaluations"))
        policies = _group(arrays, "policy")
        if "skipping" in policies:
            self._skipping.load(policies["skipping"])
        if "turns" in policies:
            self._turns.load(policies["turns"])
        if "minibatches" in policies:
            self._minibatches.seed = int(policies["minibatches"])
        set_random_state(random_state, self._device)
        self._pending = _only(arrays, self._waiting(arrays))
        self._moved = bool(_group(arrays, "optimizer"))

    def _waiting(self, arrays: dict[str, np.ndarray]) -> set[str]:
        """Names of late parameters that have not been met again."""
        return _group(arrays, "late").keys() - self.parameters.values.keys()

    def _targets(self) -> dict[str, Tensor]:
        return self.parameters.values | self.parameters.buffers()

    def _means(self) -> dict[str, Tensor]:
        """The moving average at its start."""
        values = self.parameters.values if self._averages else {}
        return {name: value.detach().clone() for name, value in values.items()}

    @torch.no_grad()
    def _restore(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        kind = "parameter" if f"parameter/{name}" in arrays else "late"
        self._targets()[name].copy_(self._tensor(arrays[f"{kind}/{name}"], name))
        if name in self.parameters.values:
            self._optimizer.load(name, _group(arrays, "optimizer"))

    def _tensor(self, array: np.ndarray, name: str) -> Tensor:
        # a late parameter that is not there yet is of the kind of the first
        first = next(iter(self.parameters.values.values()))
        return as_tensor(array, self._targets().get(name, first))


def _group(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """The arrays of a kind, by name."""
    size = len(kind) + 1
    return {name[size:]: array for name, array in arrays.items() if name.startswith(f"{kind}/")}


def _only(arrays: dict[str, np.ndarray], names: set[str]) -> dict[str, np.ndarray]:
    """The arrays that restore these late parameters."""
    return {
        path: array
        for path, array in arrays.items()
        if path.removeprefix("late/") in names
        or path.removeprefix("optimizer/").rpartition("/")[0] in names
    }


def _is_tensor(value) -> bool:
    return isinstance(value, Tensor)


def _rows_of(array: Tensor, rows: Tensor) -> Tensor:
    # of 100 rows of 784 numbers on a CPU in a quarter of the time of indexing
    return array.index_select(0, rows.to(array.device))


def _draw_seed() -> int:
    return int(torch.randint(2**31, ()))


def _number(loss) -> float:
    """A loss as a number; some bounds of the host give several."""
    return float(sum(loss)) if isinstance(loss, tuple) else float(loss)


def _name(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
