"""The host-agnostic half of the comparison: metrics, verdicts, data, files, command line."""

import filecmp
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
SHARED = (
    "agreement budget calibration check_plots cli comparison data datasets diagnostics engine "
    "errors export guide_specs hosts html importance_method method_names metrics plots predictive "
    "progress reference report results run scalars settings targets verdict"
).split()


@pytest.fixture(params=["pyro", "numpyro"])
def host(request):
    return request.param


@pytest.fixture
def load(host):
    """Import a module of the host's compare package."""
    return lambda name="": importlib.import_module(f"{host}_deepgen.compare{name and '.' + name}")


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_are_identical(name):
    files = [ROOT / f"{package}_deepgen" / "compare" / f"{name}.py" for package in HOSTS]
    assert filecmp.cmp(*files, shallow=False)


HOSTS = ("pyro", "numpyro")


def test_both_hosts_export_the_same_names():
    modules = [importlib.import_module(f"{package}_deepgen.compare") for package in HOSTS]
    assert modules[0].__all__ == modules[1].__all__
    assert list(modules[0].METHODS) == list(modules[1].METHODS)
    assert list(modules[0].PROBLEMS) == list(modules[1].PROBLEMS)


# Metrics


def metrics_of_gaussian(load, scale, num_draws=40000):
    """Importance weights of N(0, scale) against 3 N(0, 1): everything is known."""
    z = scale * np.random.default_rng(0).standard_normal(num_draws)
    weights = np.log(3.0) + stats.norm.logpdf(z) - stats.norm.logpdf(z, scale=scale)
    return load("metrics").guide_metrics(weights)


def test_bounds_equal_closed_forms(load):
    scale = 1.2
    metrics = metrics_of_gaussian(load, scale)
    divergence = -np.log(scale) + 0.5 * (scale**2 - 1.0)
    elbo, bound = metrics["elbo"], metrics["iw_bound"]
    assert abs(elbo.value - (np.log(3.0) - divergence)) < 4 * elbo.error
    assert abs(bound.value - np.log(3.0)) < 4 * bound.error
    # E[w]^2 / E[w^2] of the ratio of two Gaussians
    second = scale**2 / np.sqrt(2 * scale**2 - 1)
    assert metrics["importance_ess"].value == pytest.approx(40000 / second, rel=0.02)


def test_errors_of_bounds_have_the_right_size(load):
    rng = np.random.default_rng(1)
    estimates = [load("metrics").guide_metrics(rng.normal(0, 0.5, 500)) for _ in range(200)]
    for name in ("elbo", "iw_bound"):
        spread = np.std([metrics[name].value for metrics in estimates])
        claimed = np.mean([metrics[name].error for metrics in estimates])
        assert claimed == pytest.approx(spread, rel=0.2)


def test_khat_follows_the_tail(load):
    # Weights of N(0, s) against N(0, 1) have a Pareto tail of shape 1 - s^2 for s < 1.
    for scale, low, high in [(0.4, 0.6, 1.1), (1.2, -2.0, 0.3)]:
        assert low < metrics_of_gaussian(load, scale)["khat"].value < high


def test_equal_weights_are_exact_not_nan(load):
    metrics = load("metrics").guide_metrics(np.full(100, -3.0))
    assert metrics["khat"].value == 0.0
    assert metrics["importance_ess"].value == pytest.approx(100)
    assert metrics["iw_bound"].value == pytest.approx(-3.0)


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_bad_weights_say_why(load, bad):
    weights = np.zeros(100)
    weights[3] = bad
    for metric in load("metrics").guide_metrics(weights).values():
        assert metric.value is None
        assert "1 of 100" in metric.note


def test_mcmc_metrics_equal_arviz(load):
    import arviz

    rng = np.random.default_rng(2)
    x = np.cumsum(rng.standard_normal((4, 500, 2)), 1) * 0.1 + rng.standard_normal((4, 500, 2))
    energy = rng.standard_normal((4, 500)) ** 2
    stats_ = {"diverging": x[..., 0] > 3.0, "energy": energy, "num_steps": np.full((4, 500), 7)}
    metrics = load("metrics").mcmc_metrics({"x": x}, stats_, run_seconds=2.0)
    data = arviz.from_dict(posterior={"x": x})
    assert metrics["rhat"].value == pytest.approx(float(arviz.rhat(data)["x"].max()))
    for kind in ("bulk", "tail"):
        ess = float(arviz.ess(data, method=kind)["x"].min())
        assert metrics[f"ess_{kind}"].value == pytest.approx(ess)
        assert metrics[f"ess_{kind}_per_second"].value == pytest.approx(ess / 2.0)
    assert metrics["divergences"].value == stats_["diverging"].sum()
    assert metrics["ebfmi"].value == pytest.approx(arviz.bfmi(energy).min())
    assert metrics["num_gradients"].value == 14000


def test_frozen_chains_are_reported(load):
    x = np.random.default_rng(0).standard_normal((2, 50))
    x[1] = 0.5
    constant = np.ones((2, 50))
    metrics = load("metrics").mcmc_metrics({"x": x, "one": constant})
    assert metrics["rhat"].value is None or metrics["rhat"].value > 1.05
    nothing = load("metrics").mcmc_metrics({"one": constant})
    assert nothing["rhat"].value is None
    assert "varies" in nothing["rhat"].note


def gaussian(loc, scale, seed, num_draws=4000):
    draws = np.random.default_rng(seed).standard_normal((4, num_draws // 4, 2))
    return {"z": loc + scale * draws}


def test_agreement_equals_closed_forms(load):
    agreement = load("agreement").agreement_metrics
    metrics = agreement(gaussian(0.5, 2.0, 0, 40000), gaussian(0.0, 1.0, 1, 40000), ["z"])
    for name, truth in {
        "mean": 0.5,
        "sd": np.log(2.0),
        "quantile": 0.5 + stats.norm.ppf(0.95),
    }.items():
        metric = metrics[f"{name}_error_max"]
        assert abs(metric.value - truth) < 4 * metric.error + 0.02
    # A shift moves every one-dimensional projection by its own projection of the shift.
    shift = agreement(
        gaussian(0.0, 1.0, 0) | {"z": gaussian(0.0, 1.0, 1)["z"] + [1.0, 0.0]},
        gaussian(0.0, 1.0, 1),
        ["z"],
    )
    assert shift["sliced_wasserstein"].value == pytest.approx(2 / np.pi, rel=0.1)


def test_equal_distributions_agree_within_their_errors(load):
    metrics = load("agreement").agreement_metrics(gaussian(0, 1, 0), gaussian(0, 1, 1), ["z"])
    for name in ("mean", "sd", "quantile"):
        assert metrics[f"{name}_excess"].value == 0.0
    noise = 3 * metrics["sliced_wasserstein_floor"].value
    assert metrics["sliced_wasserstein"].value < noise


def test_heavy_tails_are_left_out_and_said(load):
    rng = np.random.default_rng(0)
    reference = {"a": rng.standard_cauchy((4, 1000)), "b": rng.standard_normal((4, 1000))}
    metrics = load("agreement").agreement_metrics(reference, reference, ["a", "b"])
    assert "1 of 2 scalars left out" in metrics["mean_error_max"].note
    assert metrics["quantile_error_max"].note == ""


def test_nothing_shared_is_said(load):
    metrics = load("agreement").agreement_metrics(
        {"a": np.ones((1, 9))}, {"b": np.ones((1, 9))}, "ab"
    )
    assert all(metric.value is None and metric.note for metric in metrics.values())


# Verdicts


def mcmc_result(load, name="nuts", loc=0.0, scale=1.0, seed=0, diverging=0):
    record = load("results").MethodResult(name, "mcmc")
    record.draws = gaussian(loc, scale, seed)
    rng = np.random.default_rng(seed)
    flags = np.zeros((4, 1000), bool)
    flags.flat[:diverging] = True
    record.sample_stats = {"diverging": flags, "energy": rng.standard_normal((4, 1000))}
    record.timings = {"compile": 0.5, "fit": 1.0, "draw": 1.0}
    return record


def guide_result(load, name="guide", loc=0.0, scale=1.0, seed=5, spread=0.1):
    record = load("results").MethodResult(name, "guide")
    record.draws = {"z": gaussian(loc, scale, seed)["z"].reshape(1, 4000, 2)}
    record.log_weights = spread * np.random.default_rng(seed).standard_normal(4000)
    record.losses = np.linspace(5.0, 1.0, 50)
    record.timings = {"compile": 0.1, "fit": 0.2, "draw": 0.1}
    return record


def comparison_of(load, *records, reference="nuts"):
    results = load("results")
    summary = results.ModelSummary("gaussian", {"z": (2,)}, 2)
    comparison = load("comparison").Comparison(
        summary, load("settings").Settings(), "host", reference_method=reference
    )
    for record in records:
        comparison.add(record)
    return comparison


def test_clean_chains_are_trusted(load):
    comparison = comparison_of(load, mcmc_result(load))
    assert comparison["nuts"].verdict.level == "trust"
    assert comparison.reference.trusted
    assert comparison.warnings == []


@pytest.mark.parametrize(
    ("loc", "scale", "level"),
    [(0.0, 1.0, "trust"), (0.25, 1.0, "caution"), (0.0, 1.3, "caution"), (2.0, 1.0, "reject")],
)
def test_guides_are_judged_by_a_trusted_reference(load, loc, scale, level):
    comparison = comparison_of(load, mcmc_result(load), guide_result(load, loc=loc, scale=scale))
    assert comparison["guide"].verdict.level == level


def test_order_of_methods_does_not_matter(load):
    records = mcmc_result(load), guide_result(load)
    levels = [
        {r.name: r.verdict.level for r in comparison_of(load, *order).results}
        for order in (records, records[::-1])
    ]
    assert levels[0] == levels[1]


def test_wrong_dependence_with_right_marginals_is_seen(load):
    nuts = mcmc_result(load)
    z = nuts.draws["z"]
    nuts.draws = {"z": np.stack([z[..., 0], 0.95 * z[..., 0] + 0.31 * z[..., 1]], -1)}
    verdict = comparison_of(load, nuts, guide_result(load))["guide"].verdict
    assert verdict.level != "trust"
    assert any("dependence" in reason for reason in verdict.reasons)


def test_high_khat_is_caution_with_and_reject_without_a_trusted_reference(load):
    wild = guide_result(load, spread=6.0)
    assert comparison_of(load, mcmc_result(load), wild)["guide"].verdict.level == "caution"
    wild = guide_result(load, spread=6.0)
    assert comparison_of(load, wild, reference=None)["guide"].verdict.level == "reject"


def test_khat_of_even_weights_is_no_finding(load):
    """Weights that hardly differ, though their differences have a wild tail."""
    guide = guide_result(load, spread=0.0)
    guide.log_weights += 1e-4 * np.random.default_rng(0).standard_cauchy(4000)
    comparison = comparison_of(load, mcmc_result(load), guide)
    assert comparison["guide"].metrics["khat"].value > 0.7
    assert comparison["guide"].verdict.level == "trust"


def test_without_reference_a_guide_gets_caution_and_missed_modes_are_named(load):
    comparison = comparison_of(load, guide_result(load), reference=None)
    verdict = comparison["guide"].verdict
    assert verdict.level == "caution"
    assert any("mode" in reason for reason in verdict.reasons)
    assert "NO REFERENCE" in comparison.table()


def test_an_untrusted_reference_is_loud_and_no_truth(load):
    comparison = comparison_of(load, mcmc_result(load, diverging=5), guide_result(load))
    assert comparison["nuts"].verdict.level == "caution"
    assert comparison["guide"].verdict.level == "caution"
    assert any("no evidence" in reason for reason in comparison["guide"].verdict.reasons)
    assert "!! THE REFERENCE (the nuts run) IS ITSELF NOT TRUSTED" in comparison.table()


@pytest.mark.parametrize(("diverging", "level"), [(0, "trust"), (3, "caution"), (400, "reject")])
def test_divergences(load, diverging, level):
    comparison = comparison_of(load, mcmc_result(load, diverging=diverging))
    assert comparison["nuts"].verdict.level == level


def test_chains_in_different_places_are_rejected(load):
    record = mcmc_result(load)
    record.draws["z"][0] += 3.0
    verdict = comparison_of(load, record)["nuts"].verdict
    assert verdict.level == "reject"
    assert any(reason.startswith("R-hat") for reason in verdict.reasons)


def test_low_energy_information_is_caution(load):
    record = mcmc_result(load)
    record.sample_stats["energy"] = np.cumsum(np.ones((4, 1000)), 1)
    verdict = comparison_of(load, record)["nuts"].verdict
    assert any(reason.startswith("E-BFMI") for reason in verdict.reasons)


def test_cheapest_trusted_method_is_the_best(load):
    comparison = comparison_of(load, mcmc_result(load), guide_result(load))
    assert comparison.best().name == "guide"
    assert "the cheapest is guide" in comparison.table()
    comparison = comparison_of(load, mcmc_result(load), guide_result(load, loc=2.0))
    assert comparison.best().name == "nuts"
    assert "Do not use guide" in comparison.table()


def test_failed_method_is_a_row_with_its_error(load):
    broken = load("results").MethodResult("nsf", "guide", error="FitError: no luck")
    comparison = comparison_of(load, mcmc_result(load), broken)
    assert comparison["nsf"].verdict.level == "reject"
    assert "FitError: no luck" in comparison.table()


# References


def test_references_of_every_kind_agree(load, tmp_path):
    import arviz

    load_reference, summary = load("reference").load_reference, load("results").ModelSummary
    model = summary("gaussian", {"z": (2,)}, 2)
    draws = gaussian(0.0, 1.0, 3)
    data = arviz.from_dict(posterior=draws)
    path = tmp_path / "reference.nc"
    data.to_netcdf(str(path), engine="h5netcdf")
    flat = {"z": draws["z"].reshape(4000, 2)}
    for given in (draws, flat, data, str(path), path):
        reference = load_reference(given, model)
        assert reference.trusted
        np.testing.assert_allclose(reference.draws["z"], draws["z"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"w": np.zeros((4, 10, 2))}, "no latent site"),
        ({"z": np.zeros((4, 10, 3))}, "shape"),
        ({"z": np.full((4, 10, 2), np.nan)}, "not finite"),
        ("absent.nc", "does not exist"),
        (3, "must be InferenceData"),
    ],
)
def test_bad_references_are_refused(load, given, words):
    model = load("results").ModelSummary("gaussian", {"z": (2,)}, 2)
    with pytest.raises(load("errors").DataError, match=words):
        load("reference").load_reference(given, model)


def test_unmixed_reference_is_not_trusted(load):
    model = load("results").ModelSummary("gaussian", {"z": (2,)}, 2)
    draws = gaussian(0.0, 1.0, 3)
    draws["z"][0] += 5.0
    assert not load("reference").load_reference(draws, model).trusted


# Files


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def test_saved_files(load, tmp_path):
    import arviz

    guide = guide_result(load)
    guide.losses[3] = np.nan
    guide.log_weights[0] = -np.inf
    comparison = comparison_of(load, mcmc_result(load), guide)
    written = comparison.save(tmp_path)
    plots = "marginals.png pairs.png elbo.png"
    names = f"table.txt comparison.json nuts.nc guide.nc report.html {plots}"
    assert sorted(path.name for path in written) == sorted(names.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in written)
    content = strict((tmp_path / "comparison.json").read_text())
    assert content["results"][1]["metrics"]["elbo"]["value"] is None
    assert content["results"][1]["losses"][3] is None
    assert content["best"] == "nuts"
    data = arviz.from_netcdf(str(tmp_path / "guide.nc"))
    np.testing.assert_allclose(data.posterior["z"].values, guide.draws["z"])
    np.testing.assert_allclose(data.sample_stats["log_weight"].values[0], guide.log_weights)
    assert (tmp_path / "marginals.png").read_bytes().startswith(b"\x89PNG")


def test_failed_write_leaves_the_old_file(load, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        load("export").write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_plots_leave_matplotlib_as_found(load, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    load("plots").save_plots(comparison_of(load, mcmc_result(load)), tmp_path)
    assert dict(matplotlib.rcParams) == before


# Settings and data


@pytest.mark.parametrize(
    "bad",
    [
        {"num_samples": 1},
        {"num_chains": 0},
        {"num_steps": 2.5},
        {"seed": -1},
        {"learning_rate": -1.0},
        {"target_accept_prob": 1.0},
        {"num_particles": True},
    ],
)
def test_settings_out_of_range(load, bad):
    (name,) = bad
    with pytest.raises(load("errors").CompareError, match=name):
        load("settings").Settings(**bad)


def test_data_of_every_kind_agree(load, tmp_path):
    x, y = np.array([0.5, 1.5]), np.array([1, 2])
    (tmp_path / "d.json").write_text(json.dumps({"x": x.tolist(), "y": y.tolist()}))
    (tmp_path / "d.csv").write_text("x,y\n0.5,1\n1.5,2\n")
    np.savez(tmp_path / "d.npz", x=x, y=y)
    for suffix in ("json", "csv", "npz"):
        data = load("data").load_data(tmp_path / f"d.{suffix}")
        np.testing.assert_array_equal(data["x"], x)
        np.testing.assert_array_equal(data["y"], y)
        assert data["y"].dtype.kind == "i"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "[1, 2]", "one object"),
        ("a.json", "{", "cannot be read"),
        ("a.json", "{}", "no argument"),
        ("a.json", '{"x": [1, [2]]}', "rectangular"),
        ("a.json", '{"x": "text"}', "not numbers"),
        ("a.json", '{"x": [1.0, NaN, Infinity]}', "'x' holds 1 NaN and 1 infinite of 3"),
        ("a.json", '{"x": [1.0, null]}', "'x' holds 1 NaN"),
        ("a.csv", "x,y\n1,\n2,3\n", "'y' holds 1 NaN"),
        ("a.csv", "x,y\n1,2,3\n", "3 fields"),
        ("a.csv", "x,x\n1,2\n", "distinct"),
        ("a.csv", "x\none\n", "not a number"),
        ("a.npz", "not an archive", "not a plain NPZ"),
        ("a.txt", "", "suffix '.txt'"),
    ],
)
def test_bad_data_are_refused(load, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(load("errors").DataError, match=words):
        load("data").load_data(tmp_path / name)


def test_data_are_never_unpickled(load, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.array([print], dtype=object))
    with pytest.raises(load("errors").DataError, match="plain NPZ"):
        load("data").load_data(tmp_path / "d.npz")


def test_arguments_are_checked_against_the_model(load):
    check, error = load("data").check_arguments, load("errors").DataError

    def model(x, y=None, *, scale):
        return x, y, scale

    check(model, {"x": 1, "scale": 2})
    check(lambda **data: data, {"anything": 1})
    with pytest.raises(error, match="no argument 'z'; it takes 'x', 'y', 'scale'"):
        check(model, {"x": 1, "scale": 2, "z": 3})
    with pytest.raises(error, match="requires 'scale', which the data lack"):
        check(model, {"x": 1})


def test_eight_schools_draws_are_the_posterior(load):
    """Exact draws against self-normalised importance sampling from the prior."""
    datasets = load("datasets")
    draws = datasets.eight_schools_draws(100000, seed=1)
    data, rng = datasets.eight_schools(), np.random.default_rng(0)
    mu = 5.0 * rng.standard_normal(400000)
    tau = 5.0 * np.abs(rng.standard_cauchy(400000))
    total = np.hypot(tau[:, None], data["sigma"])
    log_weights = stats.norm.logpdf(data["y"], mu[:, None], total).sum(-1)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    for name, values in {"mu": mu, "tau": tau}.items():
        error = values[weights > 0].std() if name == "mu" else 3.2
        error /= np.sqrt(1.0 / np.sum(weights**2))
        assert abs(draws[name].mean() - weights @ values) < 5 * error
    whitened = datasets.eight_schools_draws(50000, seed=2, centered=False)
    theta = whitened["mu"][:, None] + whitened["tau"][:, None] * whitened["z"]
    np.testing.assert_allclose(theta.mean(0), draws["theta"].mean(0), atol=0.2)


# Orchestration with methods of our own


@pytest.fixture
def fake(load, monkeypatch):
    """An engine whose methods are given; the model is the host's own funnel."""
    run, results = load("run"), load("results")

    def register(**methods):
        table = {
            name: results.Method(name, kind, function, "")
            for name, (kind, function) in methods.items()
        }
        monkeypatch.setattr(run.engine, "METHODS", table)

        def compare(**options):
            model = load("problems").PROBLEMS["funnel"].model
            return run.compare(
                model, methods=list(table), progress=False, reference="none", **options
            )

        return compare

    return register


def funnel_result(load, name):
    def function(context, settings, bar):
        record = load("results").MethodResult(name, "guide", timings={"fit": 1.0})
        record.draws = {
            k: v[None] for k, v in load("datasets").funnel_draws(200, settings.seed).items()
        }
        record.log_weights = np.random.default_rng(0).standard_normal(200)
        bar.reset(total=10)
        bar.update(10)
        return record

    return function


def raises(error):
    def function(context, settings, bar):
        raise error

    return function


@pytest.mark.compiles
def test_a_failing_method_does_not_stop_the_others(fake, load):
    compare = fake(
        bad=("guide", raises(RuntimeError("two\nlines"))),
        good=("guide", funnel_result(load, "good")),
    )
    comparison = compare()
    assert comparison["bad"].error == "RuntimeError: two lines"
    assert comparison["good"].error is None
    assert not comparison.interrupted


def test_an_interrupt_keeps_what_is_finished(fake, load, tmp_path):
    compare = fake(
        good=("guide", funnel_result(load, "good")),
        stopped=("guide", raises(KeyboardInterrupt())),
        never=("guide", raises(AssertionError())),
    )
    comparison = compare(output=tmp_path)
    assert comparison.interrupted
    assert [result.name for result in comparison.results] == ["good"]
    assert "INTERRUPTED" in (tmp_path / "table.txt").read_text()
    assert strict((tmp_path / "comparison.json").read_text())["interrupted"] is True
    assert (tmp_path / "good.nc").is_file()


def test_results_are_written_after_each_method(fake, load, tmp_path):
    seen = []

    def look(context, settings, bar):
        seen.extend(path.name for path in tmp_path.iterdir())
        raise RuntimeError("enough")

    fake(good=("guide", funnel_result(load, "good")), late=("guide", look))(output=tmp_path)
    assert {"good.nc", "comparison.json", "table.txt"} <= set(seen)


# Command line

MODELS = """
import {host}
import {host}.distributions as dist


def observed(x):
    {host}.sample("x", dist.Normal(0.0, 1.0), obs=x)


def mixture(x):
    k = {host}.sample("k", dist.Bernoulli(0.5))
    m = {host}.sample("m", dist.Normal(0.0, 1.0))
    {host}.sample("x", dist.Normal(m + k, 1.0).expand([3]).to_event(1), obs=x)


def broken(x):
    m = {host}.sample("m", dist.Normal(0.0, 1.0))
    {host}.sample("x", dist.Normal(m * x.no_such_thing, 1.0), obs=x)


def fine(x):
    m = {host}.sample("m", dist.Normal(0.0, 1.0))
    {host}.sample("x", dist.Normal(m, 1.0).expand([3]).to_event(1), obs=x)


constant = 3
"""


@pytest.fixture
def files(host, tmp_path):
    (tmp_path / "models.py").write_text(MODELS.format(host=host))
    (tmp_path / "syntax.py").write_text("def model(:\n")
    (tmp_path / "x.json").write_text('{"x": [0.5, 1.0, 1.5]}')
    (tmp_path / "nan.json").write_text('{"x": [0.5, NaN, 1.5]}')
    (tmp_path / "wrong.json").write_text('{"y": [0.5]}')
    return tmp_path


@pytest.mark.parametrize(
    ("target", "data", "options", "words"),
    [
        ("absent.py:model", "x", "", "does not exist"),
        ("models.py:absent", "x", "", "has no function 'absent'; it has"),
        ("models.py:constant", "x", "", "no function 'constant'"),
        ("syntax.py:model", "x", "", "cannot be imported: SyntaxError"),
        ("nonsense", "x", "", "neither file.py:model nor one of"),
        ("models.py:fine", "absent", "", "does not exist"),
        ("models.py:fine", "nan", "", "'x' holds 1 NaN"),
        ("models.py:fine", "wrong", "", "no argument 'y'"),
        ("models.py:fine", None, "", "requires 'x'"),
        ("models.py:observed", "x", "", "no continuous latent site"),
        ("models.py:mixture", "x", "--methods nuts,nsf", "nsf cannot cover the discrete"),
        ("models.py:broken", "x", "", "fails on its data"),
        ("models.py:fine", "x", "--methods nutz", "did you mean nuts"),
        ("models.py:fine", "x", "--methods ,", "at least one"),
        ("models.py:fine", "x", "--num-samples 0", "num_samples must be"),
        ("models.py:fine", "x", "--reference nuts --methods auto_normal", "must be an MCMC"),
        ("models.py:fine", "x", "--reference absent.nc", "does not exist"),
        ("models.py:fine", "x", "--reference exact", "no exact draws"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(load, files, capsys, target, data, options, words):
    argv = ["compare", str(files / target) if ".py" in target else target, *options.split()]
    argv += ["--data", str(files / f"{data}.json")] if data else []
    assert load("cli").main([*argv, "--quiet"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert words in output.err
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.err


def test_list_names_methods_and_problems(load, capsys):
    assert load("cli").main(["list"]) == 0
    text = capsys.readouterr().out
    for name in [*load().METHODS, *load().PROBLEMS]:
        assert name in text


def test_interrupted_command_ends_with_130(load, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(load("cli"), "compare", stop)
    assert load("cli").main(["compare", "funnel"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_problem_settings_yield_to_the_users(load, monkeypatch, capsys):
    seen = {}

    def record(model, args, data, methods, reference, **settings):
        seen.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(load("cli"), "compare", record)
    load("cli").main(["compare", "horseshoe_diabetes", "--num-warmup", "7"])
    assert seen["num_warmup"] == 7
    assert seen["target_accept_prob"] == 0.98
