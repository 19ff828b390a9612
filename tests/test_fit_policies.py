"""Minibatches, steps that are left out, and turns of guide and model, on both hosts."""

import math
import re

import numpy as np
import pytest
from test_fit import HOSTS, CutError, cut_at, expected

from pyro_deepgen._numerics.minibatches import minibatch_rows

ROWS = np.random.default_rng(2).normal(size=23) + 3.0


@pytest.fixture(params=HOSTS)
def host(request):
    with HOSTS[request.param]().float64() as host:
        host.start()
        yield host


def no_guide(*args, **kwargs):
    """All parameters are the model's."""


def scaled_mean(host):
    """The mean of data as a parameter, with the minibatch scaled to all data."""

    def model(data, size):
        loc = host.param("loc", host.array(0.0))
        host.factor("density", -0.5 * size / len(data) * ((data - loc) ** 2).sum())

    return model


def test_rows_are_permutations_and_a_function_of_the_step():
    rows = minibatch_rows(23, 5, 7, 0, 12)
    for epoch in rows.reshape(3, 20):
        assert len(set(epoch)) == 20 and epoch.min() >= 0 and epoch.max() < 23
    assert not np.array_equal(rows[:4], rows[4:8])
    for start, stop in [(0, 1), (3, 9), (4, 8), (11, 12)]:
        np.testing.assert_array_equal(minibatch_rows(23, 5, 7, start, stop), rows[start:stop])
    assert not np.array_equal(minibatch_rows(23, 5, 8, 0, 12), rows)
    counts = np.bincount(minibatch_rows(23, 5, 7, 0, 4000).ravel(), minlength=23)
    np.testing.assert_allclose(counts / 20000, 1 / 23, rtol=0.05)


def test_an_epoch_holds_every_row_once_and_arrays_stay_together(host):
    data = np.arange(1.0, 21.0)

    def model(first, second):
        loc = host.param("loc", host.array(0.0))
        host.factor("pairs", -((first - second) ** 2).sum() - loc**2)
        host.factor("rows", -(10.0**6) * (first - second).sum() - first.sum())

    args = (host.array(data), host.array(data))
    options = {"learning_rate": 1e-12, "batch_size": 5, "args": args}
    losses = host.fit(model, no_guide, 8, **options).losses
    assert losses[:4].sum() == pytest.approx(210.0) and losses[4:].sum() == pytest.approx(210.0)
    assert not np.allclose(losses[:4], losses[4:])


def test_a_fit_on_minibatches_finds_the_mean(host):
    options = {"args": (host.array(ROWS),), "kwargs": {"size": 23}, "batch_size": 6}
    result = host.fit(scaled_mean(host), no_guide, 800, learning_rate=0.05, **options)
    assert float(result.params["loc"]) == pytest.approx(ROWS.mean(), abs=0.02)


@pytest.mark.parametrize("outlier", [1e9, math.inf])
def test_steps_of_large_or_bad_gradients_are_left_out(host, outlier):
    data = np.append(ROWS[:19], outlier)
    options = {"args": (host.array(data),), "kwargs": {"size": 20}, "batch_size": 5}
    result = host.fit(
        scaled_mean(host), no_guide, 400, learning_rate=0.05, skip_norm=1e6, **options
    )
    # one minibatch of each epoch holds the outlier
    assert result.num_skipped == 100
    assert float(result.params["loc"]) == pytest.approx(ROWS[:19].mean(), abs=0.1)
    assert np.isfinite(result.losses).sum() == (300 if math.isinf(outlier) else 400)


def test_too_many_bad_steps_in_a_row_end_training(host):
    from numpyro_deepgen.infer import FitError as NumPyroError
    from pyro_deepgen.infer import FitError as PyroError

    data = host.array(np.full(10, math.inf))
    options = {"args": (data,), "kwargs": {"size": 10}, "learning_rate": 0.1, "skip_norm": 1.0}
    with pytest.raises((PyroError, NumPyroError), match="got loss inf at step 100 with learning"):
        host.fit(scaled_mean(host), no_guide, 300, **options)


def two_parameters(host):
    """The loss is (g - 2)^2 / 2 + (m - g)^2 / 2 and a constant; data add a multiple of g."""

    def model(data=None):
        z = host.sample("z", host.dist.Normal(host.array(2.0), host.array(1.0)))
        host.factor("other", -0.5 * (host.param("m", host.array(-1.0)) - z) ** 2)
        if data is not None:
            host.factor("data", 3.0 * z * (data.mean() - 3.0))

    def guide(*args):
        host.sample("z", host.dist.Delta(host.param("g", host.array(0.0))))

    return model, guide


def test_guide_and_model_take_turns_as_the_hand_recursion(host):
    model, guide = two_parameters(host)
    rate, num_turns, num_steps = 0.02, 250, 280
    options = {"learning_rate": rate, "decay": "constant", "clip_norm": None, "keep": "last"}
    result = host.fit(
        model,
        guide,
        num_steps,
        optimizer=host.sgd,
        aggressive_steps=num_turns,
        loss=host.Trace_ELBO(),
        **options,
    )
    g, m, window, before, inner = 0.0, -1.0, [], math.inf, 0
    turn, num_model_steps = "guide", 0
    for step in range(num_steps):
        loss = 0.5 * (g - 2) ** 2 + 0.5 * (m - g) ** 2
        of_g, of_m = (g - 2) + (g - m), m - g
        if step >= num_turns:
            g, m = g - rate * of_g, m - rate * of_m
        elif turn == "model":
            m, turn, num_model_steps = m - rate * of_m, "guide", num_model_steps + 1
            window, before, inner = [], math.inf, 0
        else:
            g, inner = g - rate * of_g, inner + 1
            window.append(loss)
            if len(window) == 10:
                if sum(window) > before or inner == 100:
                    turn = "model"
                window, before = [], sum(window)
    assert num_model_steps == 2
    assert float(result.params["g"]) == pytest.approx(g, abs=1e-10)
    assert float(result.params["m"]) == pytest.approx(m, abs=1e-10)


def test_turns_end_early_where_the_loss_rises(host):
    """A guide that moves away: its turns last for twenty steps, until the first comparison."""

    def model():
        host.sample("z", host.dist.Normal(host.array(0.0), host.array(1.0)))
        host.factor("other", -0.5 * (host.param("m", host.array(1.0))) ** 2)

    def guide():
        host.sample("z", host.dist.Delta(host.param("g", host.array(1e-3))))

    def climbing(*args):
        return host.sgd(*args)

    options = {"learning_rate": lambda step: -1.0 if step < 44 else 1e-9, "keep": "last"}
    result = host.fit(
        model,
        guide,
        43,
        optimizer=climbing,
        aggressive_steps=100,
        clip_norm=None,
        loss=host.Trace_ELBO(),
        **options,
    )
    # steps 20 and 41 are the model's: m doubles in each
    assert float(result.params["m"]) == pytest.approx(4.0)


def test_a_run_with_policies_goes_on_bit_for_bit(host, tmp_path):
    model, guide = two_parameters(host)

    options = {
        "args": (host.array(ROWS),),
        "batch_size": 4,
        "skip_norm": 2.0,
        "aggressive_steps": 60,
        "evaluate_every": 8,
        "checkpoint_every": 20,
    }

    def run(path, schedule, seed):
        host.start(seed)
        return host.fit(model, guide, 90, checkpoint=path, learning_rate=schedule, **options)

    whole = run(None, cut_at(-1, None), 0)
    assert 0 < whole.num_skipped < 90
    path, schedule = tmp_path / "fit.safetensors", cut_at(61, CutError())
    with expected(CutError):
        run(path, schedule, 0)
    resumed = run(path, schedule, 1)
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    assert resumed.num_skipped == whole.num_skipped
    for name, value in whole.params.items():
        np.testing.assert_array_equal(resumed.params[name], value)


WRONG = [
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ({"batch_size": 24}, ValueError, "batch_size must be at most the 23 rows of args, got 24"),
    ({"args": (), "batch_size": 2}, ValueError, "args must hold arrays of one leading dimension"),
    ({"skip_norm": -1.0}, ValueError, "skip_norm must be positive and finite, got -1.0"),
    ({"aggressive_steps": -1}, ValueError, "aggressive_steps must be at least 0, got -1"),
    ({"aggressive_steps": 1.5}, TypeError, "aggressive_steps must be an integer, got 1.5"),
]


@pytest.mark.parametrize("change, error, message", WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_policies(host, change, error, message):
    options = {"args": (host.array(ROWS),), "kwargs": {"size": 23}} | change
    with pytest.raises(error, match=re.escape(message)):
        host.fit(scaled_mean(host), no_guide, 5, learning_rate=0.1, **options)
