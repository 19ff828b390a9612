"""What the comparison writes and reads beside its table: HTML, checks, budgets, several hosts."""

import importlib
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

HOSTS = ("pyro", "numpyro")


@pytest.fixture(params=HOSTS)
def host(request):
    return request.param


@pytest.fixture
def load(host):
    return lambda name="": importlib.import_module(f"{host}_deepgen.compare{name and '.' + name}")


def mcmc_result(load, name="nuts", shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    record = load("results").MethodResult(name, "mcmc")
    record.draws = {"z": shift + rng.standard_normal((4, 500, 2))}
    record.sample_stats = {
        "diverging": np.zeros((4, 500), bool),
        "energy": rng.standard_normal((4, 500)) ** 2,
        "num_steps": np.full((4, 500), 7),
        "proposal_acceptance": np.full((4, 500), 0.25),
    }
    record.timings = {"compile": 0.1, "fit": 0.2, "draw": 0.3}
    return record


def guide_result(load, name="guide", shift=0.0):
    rng = np.random.default_rng(1)
    record = load("results").MethodResult(name, "guide")
    record.draws = {"z": shift + rng.standard_normal((1, 4000, 2))}
    record.losses = 2.0 + np.exp(-np.arange(50) / 10.0)
    record.log_weights = 0.1 * rng.standard_normal(4000)
    record.timings = {"compile": 0.1, "fit": 0.2, "draw": 0.1}
    record.notes = ["start: <laplace> & co"]
    return record


def comparison_of(load, *records, host="host", name="gaussian", sites=None, **options):
    results = load("results")
    summary = results.ModelSummary(name, sites or {"z": (2,)}, 2)
    settings = load("settings").Settings(**options)
    found = load("comparison").Comparison(summary, settings, host, reference_method="nuts")
    for record in records:
        found.add(record)
    return found


def exact(load):
    rng = np.random.default_rng(2)
    return {"z": rng.standard_normal((20000, 2))}


# HTML


def test_the_page_is_one_file_with_everything_escaped(load, tmp_path):
    name = '<b>model</b> & "co"'
    comparison = comparison_of(load, mcmc_result(load), guide_result(load), name=name)
    comparison.save(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<b>" not in page and "&lt;b&gt;model&lt;/b&gt; &amp;" in page
    assert "start: &lt;laplace&gt; &amp; co" in page
    assert not re.search(r"(src|href)=\"(?!data:)|<script|@import|url\(", page)
    assert page.count("data:image/png;base64,") == 3
    assert '<span class="level trust">trust</span>' in page
    for part in ("Settings", "Versions", "Verdicts", "MCMC (worst scalar)", "num_warmup"):
        assert part in page
    assert page.count("<table") == page.count("</table>")


def test_no_plots_no_images(load, tmp_path):
    comparison_of(load, mcmc_result(load)).save(tmp_path, plots=False)
    page = (tmp_path / "report.html").read_text()
    assert "data:image" not in page and "nuts" in page


# Gradients, proposals, budgets


def test_effective_draws_a_gradient(load):
    metrics = comparison_of(load, mcmc_result(load))["nuts"].metrics
    assert metrics["num_gradients"].value == 4 * 500 * 7
    assert metrics["ess_per_gradient"].value == pytest.approx(
        metrics["ess_bulk"].value / (4 * 500 * 7)
    )
    assert metrics["proposal_acceptance"].value == 0.25
    assert "ESS/gradient" in comparison_of(load, mcmc_result(load)).table()


def test_a_time_budget_is_told(load):
    table = comparison_of(load, mcmc_result(load), time_budget=2.5).table()
    assert "2.5 s a method after compilation" in table
    error = load("errors").CompareError
    for bad in (0.0, -1.0, float("nan"), True, "3"):
        with pytest.raises(error, match="time_budget must be a positive number"):
            load("settings").Settings(time_budget=bad)
    with pytest.raises(error, match="learning_rate must be a number with a time_budget"):
        load("settings").Settings(time_budget=1.0, learning_rate="auto")
    assert load("settings").Settings(learning_rate="auto").learning_rate == "auto"


class Bar:
    n, total = 0.0, 0.0

    def reset(self, total):
        self.n, self.total = 0.0, total

    def update(self, n):
        self.n += n


def test_the_training_clock_counts_steps_or_seconds(load):
    clock = load("budget").TrainingClock(0.1, 200, None, Bar())
    assert (clock.num_steps, clock.chunk) == (200, 10)
    assert clock.rate(0) == pytest.approx(0.1)
    assert clock.rate(200) == pytest.approx(0.001)
    assert not clock(10, 0.0) and not clock(200, 0.0)
    assert clock.bar.n == 200
    timed = load("budget").TrainingClock(0.1, 200, 0.2, Bar())
    assert timed.num_steps > 10**6
    assert timed.rate(5) == pytest.approx(0.1)
    # the first chunk compiles: the seconds begin after it
    time.sleep(0.3)
    assert not timed(10, 0.0)
    time.sleep(0.1)
    assert 0.001 < timed.rate(10) < 0.1
    assert not timed(20, 0.0)
    time.sleep(0.15)
    assert timed(30, 0.0)
    assert timed.rate(40) == pytest.approx(0.001)
    times = timed.timings()
    assert times["compile"] > 0.1 and times["fit"] > 0.2


def test_the_deadline_of_chains(load):
    deadline = load("budget").Deadline(100, None, 10)
    deadline.start()
    assert not deadline.over(99) and deadline.over(100)
    assert deadline.note(1.0, 100) == []
    timed = load("budget").Deadline(100, 0.05, 10)
    timed.start()
    time.sleep(0.06)
    # some draws there are in any case
    assert not timed.over(9) and timed.over(10)
    assert timed.note(0.04, 10)[1].startswith("the warm-up took")


# Posterior predictive checks


def test_predictive_p_values(load):
    rng = np.random.default_rng(0)
    observed = {"y": rng.standard_normal(50)}
    found = {"y": rng.standard_normal((400, 50))}
    checks = load("predictive").check_statistics(observed, found)
    assert [check.statistic for check in checks] == list(load("predictive").STATISTICS)
    assert not any(check.extreme for check in checks)
    shifted = load("predictive").check_statistics({"y": observed["y"] + 3.0}, found)
    by_name = {check.statistic: check for check in shifted}
    assert by_name["mean"].p_value == 0.0 and by_name["mean"].extreme
    assert not by_name["sd"].extreme
    # ties count by half
    (tied,) = [
        c
        for c in load("predictive").check_statistics({"k": np.ones(3)}, {"k": np.ones((9, 3))})
        if c.statistic == "max"
    ]
    assert tied.p_value == 0.5
    comparison = comparison_of(load, mcmc_result(load))
    comparison.predictive = {"nuts": shifted}
    assert "Posterior predictive checks" in comparison.table()
    assert comparison.to_dict()["predictive"]["nuts"][0]["statistic"] == "mean"


# Simulation-based calibration


def conjugate(host):
    host = importlib.import_module(host)

    def model(x):
        m = host.sample("m", host.distributions.Normal(0.0, 1.0))
        with host.plate("rows", 4):
            shifted = host.deterministic("shifted", m + 0.0 * x)
            host.sample("x", host.distributions.Normal(shifted, 1.0), obs=x)

    return model


def conjugate_method(load, name, width):
    """Draws of the exact posterior, its standard deviation multiplied."""

    def run(context, settings, bar):
        x = load("simulation").observed_values(context)["x"]
        assert x.shape == (4,)
        rng = np.random.default_rng([context.seed, 7])
        record = load("results").MethodResult(name, "mcmc", timings={"fit": 1.0})
        draws = x.sum() / 5.0 + width * rng.standard_normal((2, 100)) / np.sqrt(5.0)
        record.draws = {"m": draws}
        return record

    return run


@pytest.mark.compiles
def test_calibration_finds_what_is_too_narrow(load, host, monkeypatch, tmp_path):
    method = load("results").Method
    table = {
        name: method(name, "mcmc", conjugate_method(load, name, width), "")
        for name, width in {"exact": 1.0, "narrow": 0.4}.items()
    }
    monkeypatch.setattr(load("engine"), "METHODS", table)
    x = np.array([0.3, 1.2, -0.1, 0.8], np.float32)
    comparison = load("run").compare(
        conjugate(host),
        kwargs={"x": x},
        methods=list(table),
        reference="none",
        sbc=60,
        ppc=True,
        progress=False,
        output=tmp_path,
    )
    found = comparison.calibration
    assert found["exact"].calibrated and not found["narrow"].calibrated
    assert found["exact"].ranks["m"].shape == (60,)
    assert comparison.predictive["exact"][0].replicated.shape == (200,)
    # replicated data have one value a row, whatever is deterministic between
    spread = [c for c in comparison.predictive["exact"] if c.statistic == "max"][0].replicated
    assert spread.std() < 1.5
    assert "NO" in comparison.table()
    assert {"predictive.png", "calibration.png"} <= {p.name for p in tmp_path.iterdir()}
    assert "data:image/png" in (tmp_path / "report.html").read_text()


def test_calibration_needs_a_model_that_simulates(load, host):
    run, errors = load("run").compare, load("errors")
    model, x = conjugate(host), np.zeros(4, np.float32)
    options = {"kwargs": {"x": x}, "methods": ["auto_normal"], "progress": False}
    for bad in (5, -1, 2.5, True):
        with pytest.raises(errors.CompareError, match="sbc must be 0 or an integer"):
            run(model, sbc=bad, **options)
    check = load("data").check_generative
    with pytest.raises(errors.ModelError, match="the factor 'f' does not"):
        check(["f"], ["y"])
    with pytest.raises(errors.ModelError, match="needs an observed site"):
        check([], [])


# Several hosts


def saved(load, folder, *records, **options):
    comparison_of(load, *records, **options).save(folder, plots=False)
    return folder


@pytest.fixture
def folders(load, tmp_path):
    """One comparison a host; the second host's chains are off."""
    first = saved(load, tmp_path / "a", mcmc_result(load), guide_result(load), host="pyro")
    second = saved(load, tmp_path / "b", mcmc_result(load, shift=1.0, seed=3), host="numpyro")
    return [first, second]


@pytest.mark.compiles
def test_two_hosts_are_judged_together(load, folders, tmp_path):
    merged = load().compare_hosts(folders, exact(load), output=tmp_path / "c")
    names = [result.name for result in merged.results]
    assert names == ["pyro:nuts", "pyro:guide", "numpyro:nuts"]
    levels = {result.name: result.verdict.level for result in merged.results}
    assert levels == {"pyro:nuts": "trust", "pyro:guide": "trust", "numpyro:nuts": "reject"}
    assert merged["pyro:guide"].metrics["elbo"].value is not None
    assert merged["pyro:nuts"].metrics["divergences"].value == 0
    assert "on pyro and numpyro" in merged.table()
    assert (tmp_path / "c" / "report.html").is_file()
    assert (tmp_path / "c" / "pyro-nuts.nc").is_file()


@pytest.mark.compiles
def test_the_reference_is_found_in_a_folder_or_among_the_chains(load, folders):
    merged = load().compare_hosts(folders)
    assert merged.reference.method == "pyro:nuts"
    assert merged["numpyro:nuts"].verdict.level == "reject"
    named = load().compare_hosts(folders, "numpyro:nuts")
    assert named["pyro:nuts"].verdict.level == "reject"
    alone = load().compare_hosts(folders, "none")
    assert alone.reference is None
    given = comparison_of(load, mcmc_result(load))
    given.reference = load("reference").load_reference(exact(load), given.model, "exact draws")
    given.save(folders[0], plots=False)
    kept = load().compare_hosts(folders)
    assert kept.reference.source == "exact draws"


def test_folders_that_do_not_belong_together(load, folders, tmp_path, capsys):
    errors, compare_hosts = load("errors"), load().compare_hosts
    with pytest.raises(errors.CompareError, match="folders must be at least two, got 1"):
        compare_hosts(folders[:1])
    with pytest.raises(errors.DataError, match="has no comparison.json"):
        compare_hosts([*folders, tmp_path])
    with pytest.raises(errors.CompareError, match="reference 'pyro:nutz' is neither"):
        compare_hosts(folders, "pyro:nutz")
    with pytest.raises(errors.CompareError, match="must be a method of MCMC"):
        compare_hosts(folders, "pyro:guide")
    record = mcmc_result(load)
    record.draws = {"w": record.draws["z"]}
    other = saved(load, tmp_path / "d", record, host="other", sites={"w": (2,)})
    with pytest.raises(errors.CompareError, match="the models differ"):
        compare_hosts([folders[0], other])
    (folders[1] / "nuts.nc").unlink()
    argv = ["compare-hosts", *map(str, folders)]
    assert load("cli").main(argv) == 2
    assert "nuts.nc is missing" in capsys.readouterr().err


def test_hosts_on_the_command_line(load, folders, tmp_path, capsys):
    argv = ["compare-hosts", *map(str, folders), "--output", str(tmp_path / "out"), "--no-plots"]
    assert load("cli").main(argv) == 0
    assert "numpyro:nuts" in capsys.readouterr().out
    assert (tmp_path / "out" / "comparison.json").is_file()


# Importance resampling


def test_resampled_draws_follow_the_weights(load):
    rng = np.random.default_rng(0)
    z = 1.5 * rng.standard_normal(20000)
    weights = -0.5 * z**2 + 0.5 * (z / 1.5) ** 2 + np.log(1.5)

    def guide(context, settings, bar):
        record = load("results").MethodResult("nsf", "guide", timings={"draw": 0.0})
        record.draws, record.log_weights = {"z": z[None]}, weights
        return record

    run = load("importance_method").run_importance("importance", guide, "nsf")
    result = run(None, SimpleNamespace(seed=0), None)
    assert result.name == "importance"
    draws = result.draws["z"]
    assert 5000 < draws.shape[1] < 20000
    assert abs(draws.std() - 1.0) < 0.03
    assert "log evidence 0.00" in result.notes[-1] or "log evidence -0.00" in result.notes[-1]
