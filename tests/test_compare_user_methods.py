"""Methods of the user's own, and budgets of time, on both hosts."""

import importlib

import numpy as np
import pytest

HOSTS = ("pyro", "numpyro")
QUICK = {"num_samples": 60, "num_warmup": 60, "num_chains": 2, "num_steps": 200, "seed": 1}

METHODS = """
import {host}
import {host}.distributions as dist
from {host}.infer import HMC, NUTS
from {host}.infer.autoguide import AutoDiagonalNormal

constant = 3


def make_guide(model):
    def guide(x):
        loc = {host}.param("loc", lambda *key: {zero})
        {host}.sample("m", dist.Normal(loc, 0.45))

    return guide


def make_kernel(model):
    return HMC(model, step_size=0.5, trajectory_length=1.5)


def make_nothing(model):
    return 3


def fails(model):
    raise RuntimeError("on purpose")
"""


@pytest.fixture(params=HOSTS)
def host(request):
    return request.param


@pytest.fixture
def load(host):
    return lambda name="": importlib.import_module(f"{host}_deepgen.compare{name and '.' + name}")


@pytest.fixture
def file(host, tmp_path):
    zero = {"pyro": "__import__('torch').zeros(())", "numpyro": "__import__('jax').numpy.zeros(())"}
    path = tmp_path / "own_methods.py"
    path.write_text(METHODS.format(host=host, zero=zero[host]))
    return path


def conjugate(host):
    """Posterior N(sum x / 5, 1 / 5)."""
    host = importlib.import_module(host)

    def model(x):
        m = host.sample("m", host.distributions.Normal(0.0, 1.0))
        with host.plate("rows", 4):
            host.sample("x", host.distributions.Normal(m, 1.0), obs=x)

    return model


X = np.array([0.3, 1.2, -0.1, 0.8], np.float32)


def truth():
    return {"m": X.sum() / 5.0 + np.random.default_rng(0).standard_normal(8000) / np.sqrt(5.0)}


@pytest.mark.compiles
def test_guides_and_kernels_by_dotted_name(load, host, file):
    names = ("AutoDiagonalNormal", "make_guide", "make_kernel")
    comparison = load("run").compare(
        conjugate(host),
        kwargs={"x": X},
        methods=",".join(f"{file}:{name}" for name in names),
        reference=truth(),
        progress=False,
        learning_rate=0.05,
        **QUICK,
    )
    assert [result.name for result in comparison.results] == list(names)
    for result in comparison.results:
        assert result.error is None, result.error
        assert abs(result.draws["m"].mean() - X.sum() / 5.0) < 0.2
    kinds = [result.kind for result in comparison.results]
    assert kinds == ["guide", "guide", "mcmc"]
    kernel = comparison["make_kernel"]
    assert kernel.draws["m"].shape == (2, 60)
    assert kernel.sample_stats["diverging"].shape == (2, 60)
    guide = comparison["make_guide"].metrics["elbo"]
    evidence = -0.5 * (4 * np.log(2 * np.pi) + np.log(5.0) + X @ X - X.sum() ** 2 / 5.0)
    assert abs(guide.value - evidence) < 4 * guide.error + 0.02


@pytest.mark.parametrize("kind", ["object", "kernel as reference"])
@pytest.mark.compiles
def test_guides_and_kernels_as_objects(load, host, file, kind):
    module = load("method_names").import_file(file)
    methods = [("mine", module.make_guide)]
    options = {"reference": truth()}
    if kind != "object":
        methods, options = [("chains", module.make_kernel)], {"reference": "chains"}
    comparison = load("run").compare(
        conjugate(host), kwargs={"x": X}, methods=methods, progress=False, **QUICK, **options
    )
    (result,) = comparison.results
    assert result.name == methods[0][0] and result.error is None
    if kind != "object":
        assert comparison.reference.method == "chains"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("{file}:absent", "has no function or class 'absent'; it has"),
        ("{file}:constant", "has no function or class 'constant'"),
        ("absent.py:guide", "method file absent.py does not exist"),
        ("no_such_module_here:guide", "module 'no_such_module_here' cannot be imported"),
        ("{file}:", "a method's name must be of letters"),
        ("{file}:fails", "calling it failed: RuntimeError: on purpose"),
        ("{file}:make_nothing", "must give a guide or a kernel of the host for a model, got int"),
        ("nsff", "did you mean nsf"),
    ],
)
def test_what_is_no_method_is_one_line(load, host, file, capsys, method, words):
    argv = ["compare", "eight_schools", "--methods", method.format(file=file), "--quiet"]
    assert load("cli").main(argv) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_names_must_be_new_and_differ(load, file):
    resolve, error = load("method_names").resolve_methods, load("errors").CompareError
    with pytest.raises(error, match="must be new, got 'nuts', which is built in"):
        resolve([("nuts", lambda model: model)])
    with pytest.raises(error, match="must have different names, got 'a' twice"):
        resolve([("a", lambda model: model), ("a", lambda model: None)])
    with pytest.raises(error, match="methods must be names or pairs"):
        resolve([3])
    assert list(resolve("nuts, nsf,nuts")) == ["nuts", "nsf"]


@pytest.mark.compiles
def test_a_time_budget_gives_every_method_the_same_seconds(load, host):
    budget = 1.0
    comparison = load("run").compare(
        conjugate(host),
        kwargs={"x": X},
        methods=["auto_normal", "nuts"],
        reference=truth(),
        progress=False,
        time_budget=budget,
        num_warmup=50,
        num_chains=2,
    )
    guide, nuts = comparison.results
    assert guide.error is None and nuts.error is None
    assert guide.timings["fit"] >= 0.9 * budget
    assert nuts.timings["fit"] + nuts.timings["draw"] >= 0.5 * budget
    assert len(guide.losses) != 2000 and nuts.draws["m"].shape[1] != 500
    assert any("draws a chain in the time budget" in note for note in nuts.notes)
    assert guide.settings["time_budget"] == budget
    assert "1 s a method after compilation" in comparison.table()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, 4.0])
def test_flow_methods_together(load, host, budget):
    """Chains with proposals, chains through a flow, and resampled draws agree with the truth."""
    comparison = load("run").compare(
        conjugate(host),
        kwargs={"x": X},
        methods=["flow_mcmc", "neutra", "importance"],
        reference=truth(),
        progress=False,
        time_budget=budget,
        **QUICK | {"num_samples": 300},
    )
    for result in comparison.results:
        assert result.error is None, result.error
        assert abs(result.draws["m"].mean() - X.sum() / 5.0) < 0.15
    chains = comparison["flow_mcmc"]
    assert chains.metrics["proposal_acceptance"].value > 0.5
    assert chains.metrics["num_gradients"].value > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["nice", "naf", "unaf", "bnaf", "sospf", "gaussianization", "radial", "sylvester"]
)
def test_every_recipe_is_a_method(load, host, name):
    comparison = load("run").compare(
        conjugate(host),
        kwargs={"x": X},
        methods=[name],
        reference=truth(),
        progress=False,
        num_steps=40,
        num_guide_draws=1000,
    )
    (result,) = comparison.results
    assert result.error is None, result.error
    assert result.metrics["elbo"].value > -8.0


@pytest.mark.slow
def test_learning_rates_are_found(load, host):
    comparison = load("run").compare(
        conjugate(host),
        kwargs={"x": X},
        methods=["auto_normal"],
        reference=truth(),
        learning_rate="auto",
        progress=False,
        **QUICK,
    )
    assert comparison["auto_normal"].settings["learning_rate"] in (3e-4, 1e-3, 5e-3, 2e-2, 0.1)
    assert comparison["auto_normal"].verdict.level != "reject"
