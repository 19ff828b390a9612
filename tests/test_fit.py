"""Training on both hosts: exact answers, hand recursions, and runs that are cut and resumed."""

import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from guides import ADAPTERS

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(1)
FEATURES = RNG.normal(size=(30, 3)) @ np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 2.0]])
TARGET = FEATURES @ np.array([1.0, -1.0, 0.5]) + RNG.normal(size=30)


class PyroFits(ADAPTERS["pyro"]):
    def __init__(self):
        super().__init__()
        from pyro.infer import SVI, Trace_ELBO, autoguide

        from pyro_deepgen import infer

        self.param, self.factor, self.infer = self.pyro.param, self.pyro.factor, infer
        self.Trace_ELBO, self.SVI, self.autoguide = Trace_ELBO, SVI, autoguide
        self.sqrt, self.log = self.torch.sqrt, self.torch.log

    def start(self, seed=0):
        """As in a fresh process."""
        self.pyro.clear_param_store()
        self.pyro.set_rng_seed(seed)

    def fit(self, model, guide, num_steps, **options):
        result = self.infer.fit(model, guide, num_steps, progress=False, **options)
        result.params = {name: self.numpy(value) for name, value in result.params.items()}
        return result

    def leaves(self, params):
        return list(params.values())

    def sgd(self, params, rate):
        return self.torch.optim.SGD(params, rate)

    def bound(self, result, model, guide, *args):
        with self.torch.no_grad():
            return -self.Trace_ELBO(2000, vectorize_particles=True, max_plate_nesting=1).loss(
                model, guide, *args
            )


class NumPyroFits(ADAPTERS["numpyro"]):
    def __init__(self):
        super().__init__()
        from numpyro.infer import SVI, Trace_ELBO, autoguide

        from numpyro_deepgen import infer

        self.param, self.factor, self.infer = self.numpyro.param, self.numpyro.factor, infer
        self.Trace_ELBO, self.SVI, self.autoguide = Trace_ELBO, SVI, autoguide
        self.sqrt, self.log = self.jnp.sqrt, self.jnp.log

    def start(self, seed=0):
        """As in a fresh process."""

    def fit(self, model, guide, num_steps, **options):
        key = self.jax.random.key(0)
        result = self.infer.fit(key, model, guide, num_steps, progress=False, **options)
        result.params = self.jax.tree.map(np.asarray, result.params)
        return result

    def leaves(self, params):
        return self.jax.tree.leaves(params)

    def sgd(self, rate):
        import optax

        return optax.sgd(rate)

    def bound(self, result, model, guide, *args):
        key = self.jax.random.key(1)
        return -float(self.Trace_ELBO(2000).loss(key, result.params, model, guide, *args))


HOSTS = {"pyro": PyroFits, "numpyro": NumPyroFits}


@pytest.fixture(params=HOSTS)
def host(request):
    with HOSTS[request.param]().float64() as host:
        host.start()
        yield host


def no_guide(*args):
    """All parameters are the model's."""


def quadratic(host, start=1.0, scale=1.0):
    """A model whose loss is half the squared parameter over the squared scale, and a constant."""

    def model():
        x = host.param("x", host.array(start))
        host.factor("density", (-0.5 * (x / scale) ** 2).sum())

    return model


def mean_model(host):
    """The mean of data as a parameter."""

    def model(data):
        loc = host.param("loc", host.array(0.0))
        with host.plate("rows", len(data)):
            host.sample("data", host.dist.Normal(loc, host.array(1.0)), obs=data)

    return model


def regression(host):
    def model(features, target):
        zeros = host.array(np.zeros(3))
        weights = host.sample("weights", host.dist.Normal(zeros, host.array(2.0)).to_event(1))
        with host.plate("rows", len(target)):
            loc = (features * weights).sum(-1)
            host.sample("target", host.dist.Normal(loc, host.array(1.0)), obs=target)

    return model


def regression_evidence():
    covariance = np.eye(30) + 4.0 * FEATURES @ FEATURES.T
    _, log_det = np.linalg.slogdet(covariance)
    quadratic_form = TARGET @ np.linalg.solve(covariance, TARGET)
    return -0.5 * (quadratic_form + log_det + 30 * math.log(2 * math.pi))


@pytest.mark.compiles
def test_a_conjugate_regression_reaches_its_evidence(host):
    model, args = regression(host), (host.array(FEATURES), host.array(TARGET))
    guide = host.autoguide.AutoMultivariateNormal(model)
    result = host.fit(model, guide, 1500, args=args)
    assert host.bound(result, model, guide, *args) == pytest.approx(regression_evidence(), abs=0.02)
    assert result.losses[-100:].mean() == pytest.approx(-regression_evidence(), abs=0.1)
    assert (result.stopped, result.num_steps, len(result.losses)) == ("finished", 1500, 1500)
    assert result.learning_rate == min(result.trials, key=result.trials.get)
    assert [step for step, _ in result.evaluations] == list(range(100, 1501, 100))


@pytest.mark.parametrize("clip_norm", [None, 10.0, 1e6])
def test_gradients_are_clipped_by_their_norm_together(host, clip_norm):
    def model():
        x = host.param("x", host.array([3.0, -1.0]))
        y = host.param("y", host.array(0.5))
        host.factor("density", -50.0 * (x**2).sum() - 2.0 * y**2)

    options = {"optimizer": host.sgd, "learning_rate": 0.01, "decay": "constant"}
    result = host.fit(model, no_guide, 1, clip_norm=clip_norm, **options)
    grads = np.array([300.0, -100.0, 2.0])
    norm = np.sqrt((grads**2).sum())
    if clip_norm is not None:
        grads = grads * min(1.0, clip_norm / norm)
    found = np.append(result.params["x"], result.params["y"])
    np.testing.assert_allclose(found, np.array([3.0, -1.0, 0.5]) - 0.01 * grads, atol=1e-12)


@pytest.mark.compiles
def test_the_rate_found_is_nearly_the_best_and_leaves_no_trace(host):
    def model():
        host.sample("x", host.dist.Normal(host.array(40.0), host.array(20.0)))

    def run(rate):
        host.start()
        guide = host.autoguide.AutoNormal(model)
        return host.fit(model, guide, 300, learning_rate=rate)

    found = run("auto")
    fixed = {rate: run(rate) for rate in found.trials}
    ends = {rate: result.losses[-50:].mean() for rate, result in fixed.items()}
    assert len(ends) == 5
    assert ends[found.learning_rate] <= min(ends.values()) + 0.05
    # the trials do not move the random state
    np.testing.assert_array_equal(found.losses, fixed[found.learning_rate].losses)
    assert found.trials[found.learning_rate] == min(found.trials.values())


def test_a_rate_that_fails_in_its_trial_is_not_taken(host):
    def model():
        x = host.param("x", host.array(0.5))
        # finite below 1 only
        host.factor("density", 1e-3 * host.log(1.0 - x) + 10.0 * x)

    result = host.fit(model, no_guide, 20, optimizer=host.sgd)
    assert math.isinf(result.trials[0.1])
    assert result.learning_rate < 0.1


def test_schedules(host):
    options = {"optimizer": host.sgd, "keep": "last", "clip_norm": None}
    result = host.fit(
        quadratic(host), no_guide, 4, learning_rate=lambda step: 0.1 * step, **options
    )
    assert result.params["x"] == pytest.approx(1.0 * 0.9 * 0.8 * 0.7, rel=1e-12)
    assert result.learning_rate is None
    host.start()
    result = host.fit(quadratic(host), no_guide, 4, learning_rate=0.1, **options)
    rates = 0.1 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * np.arange(4) / 4)))
    assert result.params["x"] == pytest.approx(np.prod(1 - rates), rel=1e-12)


def test_the_moving_average_is_the_hand_recursion(host):
    decay, rate, num_steps = 0.9, 0.05, 40
    result = host.fit(
        quadratic(host),
        no_guide,
        num_steps,
        optimizer=host.sgd,
        learning_rate=rate,
        decay="constant",
        average=decay,
        keep="last",
        evaluate_every=15,
    )
    x, average = 1.0, 0.0
    for _ in range(num_steps):
        x -= rate * x
        average = decay * average + (1.0 - decay) * x
    assert result.params["x"] == pytest.approx(average / (1.0 - decay**num_steps), rel=1e-12)


def test_early_stopping_on_held_out_data_gives_back_the_best(host):
    train, held_out = host.array(np.full(20, 1.0)), host.array(np.full(20, 0.3))
    result = host.fit(
        mean_model(host),
        no_guide,
        3000,
        args=(train,),
        held_out_args=(held_out,),
        learning_rate=0.002,
        decay="constant",
        evaluate_every=10,
        patience=5,
    )
    assert result.stopped == "early"
    values = dict(result.evaluations)
    assert result.best_step == min(values, key=values.get)
    assert result.num_steps == result.best_step + 50
    assert result.params["loc"] == pytest.approx(0.3, abs=0.02)
    expected = 20 * 0.5 * math.log(2 * math.pi) + 10 * (0.3 - result.params["loc"]) ** 2
    assert values[result.best_step] == pytest.approx(expected, rel=1e-10)


def test_early_stopping_on_the_smoothed_training_loss(host):
    result = host.fit(
        quadratic(host),
        no_guide,
        3000,
        learning_rate=0.5,
        decay="constant",
        optimizer=host.sgd,
        patience=3,
    )
    assert result.stopped == "early"
    assert result.num_steps < 3000


def test_keep_last(host):
    args = {"args": (host.array(np.full(20, 1.0)),), "held_out_args": (host.array([0.0]),)}
    model = mean_model(host)
    result = host.fit(model, no_guide, 100, keep="last", learning_rate=0.05, **args)
    assert result.params["loc"] > 0.5
    assert result.best_step == 100


@pytest.mark.parametrize("kind", ["scale", "factor"])
def test_a_loss_that_is_not_finite_names_step_site_and_parameter(host, kind):
    def model():
        x = host.param("x", host.array(0.905))
        host.factor("push", 10.0 * x)
        if kind == "scale":
            scale = host.sqrt(1.0 - x)
            host.sample("y", host.dist.Normal(host.array(0.0), scale), obs=host.array(0.0))
        else:
            host.factor("y", 1e-3 * host.log(1.0 - x))

    options = {"optimizer": host.sgd, "learning_rate": 1e-3, "decay": "constant"}
    with pytest.raises(host.infer.FitError) as caught:
        host.fit(model, no_guide, 100, evaluate_every=2, **options)
    result = caught.value.result
    assert result.stopped == "failed"
    assert 2 <= result.num_steps <= 12
    assert f"at step {result.num_steps} " in str(caught.value)
    assert "'y' of the model (" in str(caught.value)
    assert "nan" in str(caught.value)
    # those of the last step are the ones that failed
    assert result.best_step == 2 * ((result.num_steps - 1) // 2)
    assert np.isfinite(result.losses).all()
    assert 0.905 < host.numpy(result.params["x"]) < 1.0


def test_a_gradient_that_is_not_finite_names_its_parameter(host):
    def model():
        x = host.param("x", host.array([0.0, 1.0]))
        y = host.param("y", host.array(1.0))
        host.factor("density", -host.sqrt(x).sum() - y**2)

    with pytest.raises(host.infer.FitError, match="at step 0 .*such a gradient: 'x'[;)]") as caught:
        host.fit(model, no_guide, 100, learning_rate=1e-3)
    assert caught.value.result is None
    host.start()
    with pytest.raises(host.infer.FitError, match="at step 0 "):
        host.fit(model, no_guide, 100)


class CutError(Exception):
    """The end of a process."""


def cut_at(step, error):
    """A schedule that ends its run once."""
    cuts = []

    def schedule(now):
        if now == step and not cuts:
            cuts.append(now)
            raise error
        return 0.05 / (1.0 + now)

    return schedule


@contextmanager
def expected(error):
    if error is CutError:
        with pytest.raises(CutError):
            yield
    else:
        yield


@pytest.mark.parametrize("step, error", [(3, KeyboardInterrupt), (61, CutError)])
def test_a_run_that_was_cut_goes_on_bit_for_bit(host, tmp_path, step, error):
    model, args = regression(host), (host.array(FEATURES), host.array(TARGET))
    options = {
        "args": args,
        "held_out_args": args,
        "evaluate_every": 8,
        "checkpoint_every": 20,
        "average": 0.9,
    }

    def run(path, schedule, seed):
        host.start(seed)
        guide = host.autoguide.AutoNormal(model)
        return host.fit(model, guide, 90, checkpoint=path, learning_rate=schedule, **options)

    whole = run(None, cut_at(-1, None), 0)
    path = tmp_path / "fit.safetensors"
    schedule = cut_at(step, error)
    with expected(error):
        stopped = run(path, schedule, 0)
        assert stopped.stopped == "interrupted"
        assert stopped.num_steps == max(8 * (step // 8), 20 * (step // 20))
    # the seed of the new process does not matter where the host has a random state
    resumed = run(path, schedule, 1)
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    assert resumed.evaluations == whole.evaluations
    assert resumed.best_step == whole.best_step
    for name, value in whole.params.items():
        np.testing.assert_array_equal(resumed.params[name], value)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.safetensors"]
    # a finished run is only read
    again = run(path, schedule, 2)
    np.testing.assert_array_equal(again.losses, whole.losses)


def test_ctrl_c_gives_back_what_was_done(host, tmp_path):
    def schedule(step):
        if step == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.1

    options = {"evaluate_every": 8, "checkpoint": tmp_path / "fit"}
    result = host.fit(quadratic(host), no_guide, 100, learning_rate=schedule, **options)
    assert (result.stopped, result.num_steps) == ("interrupted", 16)
    assert (tmp_path / "fit").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_progress_bar_shows_loss_and_rate(host, capsys):
    arguments = [quadratic(host), no_guide, 20]
    if host.name == "numpyro":
        arguments.insert(0, host.jax.random.key(0))
    host.infer.fit(*arguments, learning_rate=0.1, evaluate_every=5)
    shown = capsys.readouterr().err
    assert "20/20" in shown
    assert "loss=" in shown
    assert "rate=" in shown


def test_a_checkpoint_of_other_settings_is_refused(host, tmp_path):
    options = {"learning_rate": 0.1, "checkpoint": tmp_path / "fit", "checkpoint_every": 5}
    host.fit(quadratic(host), no_guide, 10, **options)
    message = "checkpoint must come .* same settings, got clip_norm=10.0 instead of 5.0; num_steps"
    with pytest.raises(ValueError, match=message):
        host.fit(quadratic(host), no_guide, 20, clip_norm=5.0, **options)

    def other():
        host.factor("density", -(host.param("w", host.array([1.0, 2.0])) ** 2).sum())

    host.start()
    with pytest.raises(ValueError, match="checkpoint must hold the parameters .*no .*w.*resume="):
        host.fit(other, no_guide, 10, **options)
    host.start()
    with pytest.raises(ValueError, match=r"checkpoint must hold .* of shape \(\) float64 instead"):
        host.fit(quadratic(host, start=[1.0, 2.0]), no_guide, 10, **options)
    host.start()
    result = host.fit(other, no_guide, 10, resume=False, **options)
    assert result.num_steps == 10
    (tmp_path / "fit").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="checkpoint must be a file written by fit"):
        host.fit(other, no_guide, 10, **options)


def test_a_run_at_a_constant_rate_can_be_extended(host, tmp_path):
    options = {"learning_rate": 0.1, "decay": "constant", "keep": "last"}
    path = tmp_path / "fit"
    first = host.fit(quadratic(host), no_guide, 10, checkpoint=path, **options)
    longer = host.fit(quadratic(host), no_guide, 25, checkpoint=path, **options)
    host.start()
    whole = host.fit(quadratic(host), no_guide, 25, **options)
    np.testing.assert_array_equal(longer.losses[:10], first.losses)
    np.testing.assert_array_equal(longer.losses, whole.losses)
    assert longer.params["x"] == whole.params["x"]


@pytest.mark.compiles
def test_minibatches_and_the_hosts_own_loop_afterwards(host):
    target = host.array(TARGET)

    def model():
        loc = host.sample("loc", host.dist.Normal(host.array(0.0), host.array(1.0)))
        with host.plate("rows", 30, subsample_size=10) as rows:
            host.sample("target", host.dist.Normal(loc, host.array(1.0)), obs=target[rows])

    guide = host.autoguide.AutoNormal(model)
    result = host.fit(model, guide, 600, learning_rate=0.05)
    exact = TARGET.sum() / 31
    if host.name == "pyro":
        assert host.numpy(guide.median()["loc"]) == pytest.approx(exact, abs=0.1)
        svi = host.SVI(model, guide, host.pyro.optim.Adam({"lr": 1e-3}), host.Trace_ELBO())
        losses = [svi.step() for _ in range(50)]
        assert host.numpy(guide.median()["loc"]) == pytest.approx(exact, abs=0.15)
    else:
        assert guide.median(result.params)["loc"] == pytest.approx(exact, abs=0.1)
        svi = host.SVI(model, guide, host.numpyro.optim.Adam(1e-3), host.Trace_ELBO())
        key = host.jax.random.key(2)
        losses = svi.run(key, 50, progress_bar=False, init_params=result.params).losses
    assert np.mean(losses) == pytest.approx(result.losses[-50:].mean(), abs=8.0)


@pytest.mark.compiles
def test_flow_guides_and_other_bounds(host):
    def model():
        host.sample("x", host.dist.Gamma(host.array(3.0), host.array(2.0)))

    guide = host.AutoFlow(model, host.recipes.planar, init="init_loc")
    loss = host.Trace_ELBO(num_particles=4)
    result = host.fit(model, guide, 30, learning_rate=1e-2, loss=loss)
    assert result.losses[-10:].mean() < result.losses[:10].mean()


WRONG = [
    ({"num_steps": 0}, ValueError, "num_steps must be at least 1, got 0; pass a larger number."),
    ({"decay": "linear"}, ValueError, "decay must be one of 'cosine', 'constant', got 'linear'"),
    ({"learning_rate": "fast"}, ValueError, "learning_rate must be one of 'auto', got 'fast'"),
    ({"learning_rate": -1.0}, ValueError, "learning_rate must be positive and finite, got -1.0"),
    ({"clip_norm": 0.0}, ValueError, "clip_norm must be positive and finite, got 0.0"),
    ({"average": 1.0}, ValueError, "average must be between 0 and 1.0, got 1.0"),
    ({"keep": "first"}, ValueError, "keep must be one of 'best', 'last', got 'first'"),
    ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
    ({"evaluate_every": 1.5}, TypeError, "evaluate_every must be an integer, got 1.5"),
    ({"checkpoint": "/no/such/folder/a"}, ValueError, "checkpoint must lie in an existing folder"),
    ({"args": 3}, TypeError, "args must be a tuple of the model's arguments, got int; pass"),
    ({"held_out_args": 3}, TypeError, "held_out_args must be a tuple of the model's arguments"),
    ({"kwargs": 3}, TypeError, "kwargs must be a dictionary, got int; pass for example {'data'"),
    ({"loss": "elbo"}, TypeError, "loss must be a bound of the host, got str; pass for example"),
    ({"model": 3}, TypeError, "model must be callable, got int; pass a function or a module"),
    ({"optimizer": "sgd"}, TypeError, "optimizer must be callable, got str; pass a function"),
    ({"optimizer": lambda *a: 3}, TypeError, "optimizer must give an optimiser of the host's fr"),
    ({"model": no_guide}, ValueError, "guide must have parameters to train, got none; pass a"),
]


@pytest.mark.parametrize("change, error, message", WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_arguments(host, change, error, message):
    arguments = {"model": quadratic(host), "guide": no_guide, "num_steps": 5} | change
    with pytest.raises(error, match=re.escape(message)):
        host.fit(**arguments)


@contextmanager
def pyro_host():
    with PyroFits().float64() as host:
        host.start()
        yield host


class Counting:
    """A model of which a parameter appears late."""

    def __init__(self, host, appears):
        self.host, self.appears, self.calls = host, appears, 0

    def __call__(self):
        self.calls += 1
        x = self.host.param("x", self.host.array(1.0))
        self.host.factor("first", -0.5 * x**2)
        if self.calls > self.appears:
            y = self.host.param("y", lambda: self.host.torch.randn(2) + 3.0)
            self.host.factor("second", -0.5 * (y**2).sum())


def test_parameters_that_appear_late_are_trained_and_resumed(tmp_path):
    with pyro_host() as host:
        options = {"learning_rate": 0.05, "keep": "last", "loss": host.Trace_ELBO()}
        options |= {"checkpoint_every": 20, "evaluate_every": 10, "average": 0.5}

        def run(path, model, num_steps=100):
            host.start()
            return host.fit(
                model, no_guide, num_steps, checkpoint=path, decay="constant", **options
            )

        whole = run(None, Counting(host, 30))
        assert np.abs(whole.params["y"]).max() < 2.0
        model = Counting(host, 30)
        run(tmp_path / "fit", model, 60)
        # the fresh store does not know the parameter until the model asks for it
        resumed = run(tmp_path / "fit", model)
        np.testing.assert_array_equal(resumed.losses, whole.losses)
        np.testing.assert_array_equal(resumed.params["y"], whole.params["y"])
        # trials of rates leave no late parameter behind
        host.start()
        result = host.fit(Counting(host, 30), no_guide, 20, loss=host.Trace_ELBO())
        assert "y" in result.params


def test_particles_are_vectorised_only_where_that_is_right():
    from pyro_deepgen.infer._vectorize import plate_nesting_if_vectorizable

    with pyro_host() as host:
        good, args = regression(host), (host.array(FEATURES), host.array(TARGET))
        guide = host.autoguide.AutoNormal(good)
        guide(*args)
        assert plate_nesting_if_vectorizable(good, guide, args, {}) is not None

        def bad(features, target):
            weights = host.sample(
                "weights", host.dist.Normal(host.array(np.zeros(3)), 1.0).to_event(1)
            )
            with host.plate("rows", len(target)):
                # particles (P, 1, 3) give (P, 1, 30), which no check of the host sees
                host.sample("y", host.dist.Normal(weights @ features.T, 1.0), obs=target)

        guide = host.autoguide.AutoNormal(bad)
        guide(*args)
        before = host.torch.get_rng_state()
        assert plate_nesting_if_vectorizable(bad, guide, args, {}) is None
        assert host.torch.equal(host.torch.get_rng_state(), before)


def test_steps_check_data_and_structure_and_leave_the_search_for_nan_to_the_fit():
    with pyro_host() as host:
        poutine, torch, searches, wrong = host.pyro.poutine, host.torch, [], ""

        def model(x):
            searches.append(poutine.is_validation_enabled())
            bad = wrong if len(searches) == 5 else ""
            rate = host.param("rate", torch.tensor(0.0)).expand(len(x))
            with host.pyro.plate("data", len(x) - (bad == "plate")):
                likelihood = host.pyro.distributions.Bernoulli(logits=rate)
                host.pyro.sample("x", likelihood, obs=x + (bad == "support"))

        options = {"args": (torch.ones(4),), "loss": host.Trace_ELBO(), "learning_rate": 0.01}
        before = poutine.is_validation_enabled()
        for wrong in ("plate", "support"):
            host.start()
            searches.clear()
            with pytest.raises(host.infer.FitError, match=wrong):
                host.fit(model, no_guide, 10, **options)
            assert poutine.is_validation_enabled() == before
        wrong = ""
        searches.clear()
        host.fit(model, no_guide, 10, **options)
        assert poutine.is_validation_enabled() == before and not any(searches[-10:])


def test_buffers_and_numbers_in_the_optimizer_are_part_of_a_checkpoint(tmp_path):
    with pyro_host() as host:
        nn, clipped = host.torch.nn, host.pyro.optim.clipped_adam.ClippedAdam

        class Guide(host.pyro.nn.PyroModule):
            def __init__(self):
                super().__init__()
                self.loc = nn.Parameter(host.torch.randn(()))
                self.register_buffer("count", host.torch.zeros(()))

            def forward(self):
                self.count += 1
                host.sample("x", host.dist.Delta(self.loc + 0.1 * host.torch.sin(self.count)))

        def model():
            host.sample("x", host.dist.Normal(host.array(0.0), 1.0))

        def run(path, schedule):
            host.start()
            return host.fit(
                model,
                Guide(),
                40,
                loss=host.Trace_ELBO(),
                optimizer=lambda params, rate: clipped(params, lr=rate),
                learning_rate=schedule,
                evaluate_every=10,
                checkpoint=path,
            )

        whole = run(None, cut_at(-1, None))
        schedule = cut_at(25, KeyboardInterrupt)
        run(tmp_path / "fit", schedule)
        resumed = run(tmp_path / "fit", schedule)
        np.testing.assert_array_equal(resumed.losses, whole.losses)


SCRIPT = """
import sys
import numpy as np
from test_fit import HOSTS, FEATURES, TARGET, regression
with HOSTS[sys.argv[1]]().float64() as host:
    host.start()
    model, args = regression(host), (host.array(FEATURES), host.array(TARGET))
    guide = host.AutoFlow(model, host.recipes.maf)
    print("begun", flush=True)
    result = host.fit(
        model, guide, 500, args=args, checkpoint=sys.argv[2], checkpoint_every=7,
        evaluate_every=5, average=0.99, learning_rate=0.01,
    )
    np.savez(sys.argv[3], result.losses, *host.leaves(result.params))
"""


def begin(name, folder):
    """Start a process that trains and writes its result at the end."""
    environment = dict(os.environ, PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
    command = [sys.executable, "-c", SCRIPT, name, str(folder / "fit"), str(folder / "end.npz")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pyro", "numpyro"])
def test_killed_at_random_moments_it_ends_the_same(name, tmp_path):
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    process, begun = begin(name, folders[0]), time.perf_counter()
    assert process.wait() == 0
    process.stdout.close()
    seconds = time.perf_counter() - begun
    moments, num_checkpoints = random.Random(), 0
    for _ in range(3):
        process = begin(name, folders[1])
        time.sleep(moments.uniform(0.2, 0.9) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        num_checkpoints += (folders[1] / "fit").exists()
    assert num_checkpoints
    process = begin(name, folders[1])
    assert process.wait() == 0
    process.stdout.close()
    one, other = (np.load(folder / "end.npz") for folder in folders)
    assert len(one.files) == len(other.files) > 2
    for key in one.files:
        np.testing.assert_array_equal(one[key], other[key])


def test_a_callback_sees_the_loss_and_stops_training(host):
    seen = []

    def callback(step, loss):
        seen.append((step, loss))
        return step >= 24

    options = {"learning_rate": 0.1, "evaluate_every": 8}
    result = host.fit(quadratic(host), no_guide, 100, callback=callback, **options)
    assert (result.stopped, result.num_steps) == ("callback", 24)
    assert [step for step, _ in seen] == [8, 16, 24]
    # the last interval is evaluated before the end
    assert result.evaluations == [(step, pytest.approx(loss)) for step, loss in seen]
    with pytest.raises(TypeError, match="callback must be callable, got int"):
        host.fit(quadratic(host), no_guide, 100, callback=3)
