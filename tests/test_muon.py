"""Muon on both hosts: steps against the singular value decomposition, and a run that is cut."""

import math
import re

import numpy as np
import pytest
from test_fit import HOSTS, no_guide

RATE, MOMENTUM = 0.01, 0.9
SHAPES = {
    "wide": (3, 7),
    "tall": (7, 3),
    "square": (4, 4),
    "kernel": (5, 2, 6),
    "images": (6, 2, 3, 3),
    "bias": (5,),
    "row": (1, 4),
    "column": (4, 1, 1),
    "number": (),
}
MATRICES = {"wide", "tall", "square", "kernel", "images"}


@pytest.fixture(params=HOSTS)
def host(request):
    with HOSTS[request.param]().float64() as host:
        host.start()
        yield host


def steps(host, starts, grads, **options):
    """The values after every step along given gradients."""
    found = []
    if hasattr(host, "jax"):
        import optax

        optimizer = host.infer.muon(RATE, **options)
        params = {name: host.array(value) for name, value in starts.items()}
        state, update = optimizer.init(params), host.jax.jit(optimizer.update)
        for grad in grads:
            grad = {name: host.array(value) for name, value in grad.items()}
            updates, state = update(grad, state, params)
            params = optax.apply_updates(params, updates)
            found.append({name: np.asarray(value) for name, value in params.items()})
        return found
    params = {name: host.array(value.copy()).requires_grad_() for name, value in starts.items()}
    optimizer = host.infer.muon(params.values(), RATE, **options)
    for grad in grads:
        for name, value in params.items():
            value.grad = host.array(grad[name].copy())
        optimizer.step()
        found.append({name: host.numpy(value).copy() for name, value in params.items()})
    return found


def draws(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def orthogonal(grad):
    """The iteration on the singular values alone."""
    left, values, right = np.linalg.svd(grad.reshape(len(grad), -1), full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return ((left * values) @ right).reshape(grad.shape), values


def test_a_step_is_orthogonal_and_as_large_as_one_of_adam(host):
    starts, grad = draws(0), draws(1)
    (ends,) = steps(host, starts, [grad], momentum=MOMENTUM)
    for name in MATRICES:
        moved = (starts[name] - ends[name]).reshape(len(starts[name]), -1)
        sides = moved.shape
        expected, values = orthogonal(grad[name])
        assert 0.6 < values.min() and values.max() < 1.3
        scale = 0.2 * math.sqrt(max(sides)) * RATE
        np.testing.assert_allclose(moved / scale, expected.reshape(sides), atol=1e-6)
        assert 0.1 * RATE < np.sqrt((moved**2).mean()) < 0.27 * RATE
    for name in SHAPES.keys() - MATRICES:
        np.testing.assert_allclose(starts[name] - ends[name], RATE * np.sign(grad[name]), rtol=1e-5)


def test_steps_follow_the_hand_recursion(host):
    starts, grads = draws(0), [draws(1 + i) for i in range(4)]
    found = steps(host, starts, grads, momentum=MOMENTUM)
    # optax divides by what the weights of the gradients sum to
    corrected = hasattr(host, "jax")
    for name in MATRICES:
        value, mean = starts[name], np.zeros(SHAPES[name])
        for i, grad in enumerate(grads):
            mean = MOMENTUM * mean + (1 - MOMENTUM) * grad[name]
            before, now = (1 - MOMENTUM ** (i + k) if corrected else 1 for k in (2, 1))
            ahead = MOMENTUM * mean / before + (1 - MOMENTUM) * grad[name] / now
            sides = np.reshape(value, (len(value), -1)).shape
            value = value - 0.2 * math.sqrt(max(sides)) * RATE * orthogonal(ahead)[0]
            np.testing.assert_allclose(found[i][name], value, atol=1e-7)


def test_which_parameters_are_matrices_can_be_chosen(host):
    starts, grad = draws(0), draws(1)
    (ends,) = steps(host, starts, [grad], is_matrix=lambda value: value.shape[0] == 7)
    for name in ("wide", "kernel"):
        moved = starts[name] - ends[name]
        np.testing.assert_allclose(moved, RATE * np.sign(grad[name]), rtol=1e-5)
    moved = (starts["tall"] - ends["tall"]) / (0.2 * math.sqrt(7) * RATE)
    np.testing.assert_allclose(moved, orthogonal(grad["tall"])[0], atol=1e-6)


def factorisation(host):
    """Two matrices of which the product is to be a third one, badly conditioned, and a shift."""
    rng = np.random.default_rng(4)
    target = host.array(rng.normal(size=(6, 6)) * 3.0 ** -np.arange(6) + 2.0)
    starts = [rng.normal(size=(6, 6)) for _ in range(2)]

    def model():
        left, right = (host.param(f"m{i}", host.array(starts[i].copy())) for i in range(2))
        shift = host.param("shift", host.array(np.zeros(6)))
        host.factor("density", -0.5 * ((left @ right + shift - target) ** 2).sum())

    return model


@pytest.mark.parametrize("aggressive_steps", [0, 60])
@pytest.mark.compiles
def test_a_run_with_muon_goes_on_where_it_was_cut(host, tmp_path, aggressive_steps):
    model = factorisation(host)
    options = {"optimizer": host.infer.muon, "keep": "last", "checkpoint_every": 10}

    def guide():
        host.sample("z", host.dist.Delta(host.param("g", host.array(np.ones((2, 3)))), event_dim=2))

    def both():
        z = host.sample("z", host.dist.Normal(host.array(np.zeros((2, 3))), 1.0).to_event(2))
        host.factor("z_density", -(z**2).sum())
        model()

    def run(path, cut=None):
        host.start()
        cuts = []

        def schedule(step):
            if step == cut and not cuts:
                cuts.append(step)
                raise KeyboardInterrupt
            return 0.2 / (1.0 + 0.02 * step)

        chosen = options | {"learning_rate": schedule, "aggressive_steps": aggressive_steps}
        result = host.fit(both, guide, 120, loss=host.Trace_ELBO(), checkpoint=path, **chosen)
        if cuts:
            result = host.fit(both, guide, 120, loss=host.Trace_ELBO(), checkpoint=path, **chosen)
        return result

    whole, resumed = run(None), run(tmp_path / "fit", 55)
    assert whole.losses[-1] < 0.1 * whole.losses[0]
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    for name in whole.params:
        np.testing.assert_array_equal(resumed.params[name], whole.params[name])


def test_the_host_s_own_loop_takes_it(host):
    start, target = np.array([[2.0, 0.5], [0.1, -1.0], [1.0, 1.0]]), np.ones((3, 2))

    def model():
        value = host.param("value", host.array(start.copy()))
        host.factor("density", -0.5 * ((value - host.array(target)) ** 2).sum())

    if host.name == "pyro":
        optimizer = host.pyro.optim.PyroOptim(host.infer.muon, {"rate": RATE})
        svi = host.SVI(model, no_guide, optimizer, host.Trace_ELBO())
        svi.step()
        end = host.numpy(host.pyro.param("value"))
    else:
        svi = host.SVI(model, no_guide, host.infer.muon(RATE), host.Trace_ELBO())
        state, _ = svi.update(svi.init(host.jax.random.key(0)))
        end = np.asarray(svi.get_params(state)["value"])
    expected = start - 0.2 * math.sqrt(3) * RATE * orthogonal(start - target)[0]
    np.testing.assert_allclose(end, expected, atol=1e-7)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"momentum": 1.0}, ValueError, "momentum must be in [0, 1), got 1.0; pass for example"),
        ({"momentum": -0.1}, ValueError, "momentum must be in [0, 1), got -0.1; pass for example"),
        ({"momentum": math.nan}, ValueError, "momentum must be in [0, 1), got nan; pass for exam"),
        ({"is_matrix": 3}, TypeError, "is_matrix must be callable, got int; pass a function or a"),
    ],
)
def test_wrong_arguments(host, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        steps(host, draws(0), [], **options)


def test_an_optax_without_it_is_named(monkeypatch):
    import optax

    from numpyro_deepgen.infer import muon

    monkeypatch.setattr(optax.contrib, "muon", lambda learning_rate: None)
    with pytest.raises(RuntimeError, match="optax must be 0.2.8 or newer for muon, got 0"):
        muon(RATE)
