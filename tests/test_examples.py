"""Every script in examples/ runs small, on both hosts, and gets something right."""

import importlib
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from gpu_rows import ROWS
from scipy.stats import multivariate_normal

EXAMPLES = Path(__file__).parent.parent / "examples"
HOSTS = ("pyro", "numpyro")


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("tables")


def run(name: str, host: str, *argv):
    """The script's functions and the result of its main."""
    script = runpy.run_path(str(EXAMPLES / f"{name}_{host}.py"))
    return script, script["main"](script["parse_args"]([*map(str, argv)]))


def rescored(host: str, flow, rows: np.ndarray) -> np.ndarray:
    if host == "numpyro":
        return np.asarray(flow().log_prob(rows))
    import torch

    return flow().log_prob(torch.from_numpy(rows)).detach().numpy()


def test_every_script_has_its_twin():
    names = {path.stem for path in EXAMPLES.glob("*.py")} - {"images", "tables", "videos"}
    topics = {name.rsplit("_", 1)[0] for name in names}
    assert topics == {
        "amortized_inference",
        "compare_posteriors",
        "conditional_density",
        "density_estimation",
        "flow_mcmc",
        "local_latents",
        "neutra",
        "autoregressive",
        "vae",
        "hierarchical_vae",
        "vq_vae",
        "video",
    }
    assert names == {f"{topic}_{host}" for topic in topics for host in HOSTS}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_two_moons(host, tables, tmp_path):
    options = ("--num-transforms", 3, "--num-steps", 200, "--eval-every", 50)
    _, result = run("density_estimation", host, *options, "--output", tmp_path)
    table, fit = result["table"], result["fit"]
    gain = result["test_log_prob"] - tables.gaussian_log_prob(table)
    mean, error = tables.mean_and_error(gain)
    assert mean - 3 * error > 0.5
    # the parameters with the best validation value came back
    best = -min(loss for _, loss in fit.evaluations) / len(table.valid)
    np.testing.assert_allclose(rescored(host, result["flow"], table.valid).mean(), best, atol=1e-3)
    assert len(fit.losses) == 200
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"flow.safetensors", "losses.png", "samples.png", "density.png"}
    assert {path.name for path in result["paths"]} == written


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_the_saved_flow_is_the_restored_one(host, tables, tmp_path):
    values = np.random.default_rng(0).standard_normal((200, 2))
    np.save(tmp_path / "rows.npy", values)
    options = ("--data", tmp_path / "rows.npy", "--recipe", "realnvp", "--num-transforms", 2)
    options += ("--num-steps", 90, "--eval-every", 5, "--patience", 2, "--learning-rate", 0.03)
    _, result = run("density_estimation", host, *options, "--output", tmp_path / "out")
    fit, table = result["fit"], result["table"]
    # it learned nothing from noise and stopped early, patience evaluations after the best
    assert fit.stopped == "early" and fit.num_steps == fit.best_step + 2 * 5 < 90
    distributions = importlib.import_module(f"{host}_deepgen.distributions")
    key = ()
    if host == "numpyro":
        import jax

        key = (jax.random.key(5),)
    fresh = distributions.realnvp(*key, 2, num_transforms=2)
    path = tmp_path / "out" / "flow.safetensors"
    loaded = importlib.import_module(f"{host}_deepgen.io").load(path, fresh)
    np.testing.assert_allclose(
        rescored(host, loaded, table.test), result["test_log_prob"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_digits_in_bits_per_dimension(host, tables, tmp_path):
    options = ("--data", "digits", "--recipe", "realnvp", "--num-transforms", 2)
    options += ("--num-steps", 60, "--eval-every", 30, "--output", tmp_path)
    _, result = run("density_estimation", host, *options)
    table = result["table"]
    bits = table.bits_per_dim(result["test_log_prob"].mean())
    independent = multivariate_normal(np.zeros(64), np.eye(64)).logpdf(table.test).mean()
    # better than independent normals, than all 17 levels equally likely; no density is that high
    assert 0.0 < bits < min(np.log2(17), table.bits_per_dim(independent))
    assert (tmp_path / "images.png").exists()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_conditional_density(host, tables, tmp_path):
    options = ("--num-steps", 300, "--num-samples", 500, "--output", tmp_path)
    script, result = run("conditional_density", host, *options)
    y = result["parts"]["test"][1][:, 0]
    marginal = -0.5 * y**2 - 0.5 * np.log(2 * np.pi)
    mean, error = tables.mean_and_error(result["test_log_prob"] - marginal)
    assert mean > 2 * error
    mean, error = tables.mean_and_error(result["test_log_prob"] - result["linear_log_prob"])
    assert mean > -2 * error
    num_rows = [len(result["parts"][part][1]) for part in ("calibrate", "test")]
    levels = script["parse_args"]([]).levels
    for level, (share, _) in zip(levels, result["coverage"]["calibrated"], strict=True):
        spread = np.sqrt(level * (1 - level) * sum(1 / n for n in num_rows))
        assert abs(share - level) < 3 * spread
    assert {path.name for path in tmp_path.iterdir()} == {"flow.safetensors", "calibration.png"}


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_amortized_inference(host, tables, tmp_path):
    options = ("--num-steps", 300, "--batch-size", 128, "--num-simulations", 100)
    options += ("--num-columns", 1, "--num-proposals", 500, "--output", tmp_path)
    _, result = run("amortized_inference", host, *options)
    assert result["losses"][-1] < result["losses"][0] - 1.0
    # some of three parameters, at a level that a right sampler fails one time in a thousand
    assert max(found.ecdf_p_value for found in result["tests"].values()) > 1e-3
    assert set(result["khats"]) == {"alcohol"}
    assert (tmp_path / "ranks.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_local_latents(host, tables, tmp_path):
    options = ("--num-steps", 400, "--num-draws", 30, "--output", tmp_path)
    _, result = run("local_latents", host, *options)
    assert np.isfinite(result["losses"]).all()
    # what is integrated out by hand bounds what is guided, and 442 weights cost little
    guided, collapsed = result["bounds"].values()
    assert -650.0 < guided < collapsed + 5.0
    low, middle, high = result["tau"]
    assert middle.shape == (442,) and (low < middle).all() and (middle < high).all()
    assert (tmp_path / "weights.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_compare_posteriors(host, tmp_path):
    options = ("--problem", "eight_schools", "--methods", "nuts", "auto_normal", "--quiet")
    options += ("--num-samples", 200, "--num-warmup", 200, "--num-chains", 2, "--num-steps", 300)
    _, result = run("compare_posteriors", host, *options, "--output", tmp_path)
    assert [method.name for method in result.results] == ["nuts", "auto_normal"]
    assert list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_conformal_intervals_cover_whatever_the_sampler(tables, level):
    """Samples far too narrow and off centre: the coverage is still at least the level."""
    rng = np.random.default_rng(0)
    num_calibrate, num_test, num_samples, shares = 39, 20, 100, []
    for _ in range(400):
        y = rng.standard_normal(num_calibrate + num_test)
        samples = 0.3 + 0.4 * rng.standard_normal((num_samples, len(y)))
        ranks = tables.ranks(samples, y)[:num_calibrate]
        halfwidths = tables.conformal_halfwidths(ranks, num_samples, [level])
        intervals = tables.central_intervals(samples[:, num_calibrate:], halfwidths)
        shares.append(tables.coverage(intervals, y[num_calibrate:])[0][0])
    mean, error = tables.mean_and_error(np.array(shares))
    assert level - 3 * error < mean
    raw = tables.central_intervals(samples, [round(level * num_samples)])
    assert tables.coverage(raw, y)[0][0] < level


def test_too_few_calibration_rows_give_the_whole_line(tables):
    (halfwidth,) = tables.conformal_halfwidths(np.array([3, 5, 8]), 10, [0.9])
    ((low, high),) = tables.central_intervals(np.zeros((10, 2)), [halfwidth])
    assert np.isneginf(low).all() and np.isposinf(high).all()


def test_splits_are_fixed_and_disjoint(tables):
    first, second = (tables.load_table("wine") for _ in range(2))
    np.testing.assert_array_equal(first.train, second.train)
    parts = tables.split_rows(100, (0.6, 0.2))
    assert [len(part) for part in parts] == [60, 20, 20]
    assert sorted(np.concatenate(parts)) == list(range(100))
    np.testing.assert_allclose(first.train.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(first.train.std(0), 1.0, atol=1e-5)


def test_repeated_values_are_dequantised(tables, tmp_path):
    rng = np.random.default_rng(0)
    table = np.stack([rng.integers(0, 4, 50) * 0.5, rng.standard_normal(50), np.ones(50)], -1)
    values, changed = tables.dequantise(table)
    assert list(changed) == [True, False, True]
    np.testing.assert_array_equal(np.floor(values[:, 0] / 0.5) * 0.5, table[:, 0])
    np.testing.assert_array_equal(values[:, 1], table[:, 1])
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,c", comments="")
    assert tables.load_table(tmp_path / "t.csv").dequantised == ("a", "c")
    with pytest.raises(ValueError, match="data must be one of"):
        tables.load_table("unknown")


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_flow_mcmc_visits_both_modes(host):
    options = ("--num-steps", 200, "--num-warmup", 50, "--num-samples", 150)
    _, result = run("flow_mcmc", host, *options)
    # NUTS alone never leaves the mode where it starts; the labels may be swapped evenly
    assert set(result["NUTS"]) <= {0.0, 1.0}
    assert np.all((result["NUTS and flow"] > 0.2) & (result["NUTS and flow"] < 0.8))
    assert 0.1 < result["accepted"] < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_neutra(host):
    options = ("--problem", "eight_schools", "--num-steps", 300, "--num-warmup", 100)
    options += ("--num-samples", 100, "--num-chains", 2, "--quiet")
    _, result = run("neutra", host, *options)
    assert [method.error for method in result.results] == [None, None]
    assert all(method.metrics["ess_per_gradient"].value > 0 for method in result.results)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_auto_encoders(host, tables, tmp_path):
    options = ("--model", "iwae", "--num-epochs", 12, "--eval-every", 4, "--latent-dim", 2)
    files = ("--checkpoint", tmp_path / "checkpoint", "--output", tmp_path)
    size = ("--hidden-dim", 32, "--num-samples", 50, "--num-evaluated", 100, "--quiet")
    _, result = run("vae", host, *options, *files, *size)
    nll, fit = result["nll"], result["fit"]
    assert nll.value < nll.bound < 30.0
    assert abs(nll.value - nll.plain) < 5 * nll.plain_error
    assert fit.evaluations[-1][1] < fit.evaluations[0][1]
    names = {path.stem for path in result["paths"]}
    assert names == {"curve", "samples", "reconstructions", "interpolations", "manifold"}
    assert all(path.exists() for path in result["paths"])
    # a second call goes on from the checkpoint, which is at its end
    _, again = run("vae", host, *options, *files, *size)
    assert again["fit"].num_steps == fit.num_steps
    np.testing.assert_array_equal(again["fit"].losses, fit.losses)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("topic, model", [("hierarchical_vae", "ladder"), ("vq_vae", "vq-vae")])
@pytest.mark.compiles
def test_hierarchies_and_codes(host, topic, model, tables, tmp_path):
    options = ("--model", model, "--num-epochs", 4, "--eval-every", 2, "--quiet")
    sizes = ("--hidden-dim", 16, "--num-layers", 2) if model == "ladder" else ("--channels", 6)
    files = ("--checkpoint", tmp_path / "checkpoint", "--output", tmp_path)
    _, result = run(topic, host, *options, *sizes, *files)
    held_out = result["held_out"]
    # grey levels in nats, below those of equal chances; of the normal decoder a density
    limit = 60.0 if model == "ladder" else 64 * math.log(17)
    assert held_out[-1][1] < held_out[0][1] < limit
    names = {path.stem for path in result["paths"]}
    assert names == {"curve", "samples", "reconstructions", "interpolations"}
    _, again = run(topic, host, *options, *sizes, *files)
    np.testing.assert_array_equal(again["fit"].losses, result["fit"].losses)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_pixel_cnns_as_priors_of_codes(host, tables):
    options = ["--model", "vq-vae-2", "--num-codes", 16, "--channels", 6, "--num-epochs", 6]
    options += ["--priors", "pixel_cnn", "--prior-channels", 8, "--prior-blocks", 1]
    options += ["--prior-epochs", 20, "--learning-rate", 5e-3, "--eval-every", 2, "--quiet"]
    _, result = run("vq_vae", host, *options)
    independent = -min(loss for _, loss in result["held_out"])
    assert result["bound"] > independent + 5.0


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_autoregressive(host, tables, tmp_path):
    options = ["--model", "made", "--hidden-dim", "100", "--num-epochs", "8", "--quiet"]
    _, result = run("autoregressive", host, *options, "--labels", "--output", str(tmp_path))
    assert result["bits"] < 2.7
    assert {path.name for path in result["paths"]} == {"inpaintings.png", "samples_by_class.png"}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_inpaintings_of_an_order_that_does_not_follow_the_rows(host, tables, tmp_path, capsys):
    options = ["--model", "made", "--hidden-dim", 20, "--num-epochs", 1, "--num-particles", 7]
    options += ["--quiet", "--output", tmp_path]
    for order, line in (("reverse", "are one of 7 draws, by weights"), ("raster", "are exact")):
        _, result = run("autoregressive", host, *options, "--order", order)
        assert f"inpaintings {line}" in capsys.readouterr().out
        names = {path.name for path in result["paths"]}
        assert names == {"inpaintings.png", "samples.png"}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_block_local_attention_over_images(host, tables):
    options = ["--model", "video_transformer", "--hidden-dim", 8, "--num-blocks", 2, "--quiet"]
    options += ["--num-epochs", 6, "--learning-rate", 0.01, "--labels", "--num-held-out", 100]
    _, result = run("autoregressive", host, *options)
    assert result["bits"] < 2.7
    with pytest.raises(SystemExit):
        run("autoregressive", host, *options, "--order", "snake")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_several_masks(host, tables):
    options = ["--model", "made", "--num-masks", 3, "--num-layers", 2, "--hidden-dim", 32]
    options += ["--num-epochs", 2, "--num-held-out", 100, "--quiet"]
    _, result = run("autoregressive", host, *options)
    assert len(set(result["module"].orders)) == 3
    assert result["fit"].evaluations[-1][1] < result["fit"].evaluations[0][1]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.compiles
def test_muon_trains_an_autoregressive_network(host, tables):
    options = ["--model", "pixel_cnn", "--num-blocks", 3, "--activation", "silu", "--quiet"]
    options += ["--num-epochs", 20, "--learning-rate", 0.01, "--keep", "last"]
    _, result = run("autoregressive", host, *options, "--optimizer", "muon")
    assert result["bits"] < 2.0


@pytest.mark.parametrize("host", HOSTS)
def test_command_lines_of_the_rows_of_the_gpu(host, tables):
    for row in ROWS:
        script = runpy.run_path(str(EXAMPLES / f"{row.topic}_{host}.py"))
        args = script["parse_args"](row.argv("images.npz"))
        assert args.data == "images.npz" and args.model in row.options


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("model", ["video_transformer", "video_vq_vae"])
@pytest.mark.compiles
def test_videos(host, model, tables, tmp_path):
    options = ["--model", model, "--num-videos", 40, "--num-frames", 3, "--side", 8, "--quiet"]
    options += ["--num-epochs", 8, "--hidden-dim", 8, "--num-blocks", 2, "--num-codes", 8]
    options += ["--channels", 8, "--halvings", 0, 1, 1, "--learning-rate", 0.01, "--num-shown", 2]
    extra = [] if model == "video_vq_vae" else ["--factors", 1, 2, 2, "--num-particles", 2]
    files = ["--checkpoint", tmp_path / "checkpoint", "--output", tmp_path / "out"]
    _, result = run("video", host, *options, "--labels", *extra, *files)
    # better than bits of equal chances, and codes of equal chances
    assert result["bits"] < (1.0 if model == "video_transformer" else 1.0 + 3 / 4)
    assert 0.0 < result["floor"] < 1.0
    names = {"samples", "continuations"} | ({"reconstructions"} if "vq" in model else set())
    assert {path.stem for path in result["paths"]} == names
    _, again = run("video", host, *options, "--labels", *extra, *files)
    np.testing.assert_array_equal(again["fit"].losses, result["fit"].losses)
