"""Starts of a guide: Pathfinder on known Gaussians, failures by name, high dimensions."""

import math

import numpy as np
import pytest
from guides import ADAPTERS


@pytest.fixture(params=["pyro", "numpyro"])
def host(request):
    with ADAPTERS[request.param]().float64() as host:
        yield host


def correlated(dim: int, condition: float) -> tuple[np.ndarray, np.ndarray]:
    """Location and covariance of a normal distribution with random axes."""
    rng = np.random.default_rng(dim)
    axes, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    return rng.standard_normal(dim), (axes * np.logspace(0, -np.log10(condition), dim)) @ axes.T


def normal_model(host, loc, covariance):
    loc, covariance = host.array(loc), host.array(covariance)

    def model():
        host.sample("x", host.dist.MultivariateNormal(loc, covariance))

    return model


def report_of(host, model, start, init, **options):
    init_loc_fn = host.init_to_value({"x": host.array(start)})
    recipe = host.recipes.realnvp
    return host.AutoFlow(
        model, recipe, init=init, init_loc_fn=init_loc_fn, args=(), **options
    ).init_report


@pytest.mark.parametrize(
    "dim, condition, tolerance", [(1, 1.0, 1e-3), (5, 100.0, 1e-3), (30, 1e6, 0.5)]
)
@pytest.mark.compiles
def test_pathfinder_on_a_gaussian(host, dim, condition, tolerance):
    """The evidence is 0."""
    loc, covariance = correlated(dim, condition)
    start = loc + 2.0 * np.random.default_rng(0).standard_normal(dim)
    report = report_of(host, normal_model(host, loc, covariance), start, "pathfinder")
    assert report.elbo["pathfinder"] == pytest.approx(0.0, abs=tolerance)


@pytest.mark.compiles
def test_laplace_and_pathfinder_are_exact_where_the_mean_field_fit_is_not(host):
    loc, covariance = correlated(8, 1e4)
    model = normal_model(host, loc, covariance)
    report = report_of(host, model, loc + 1.0, ("init_loc", "laplace", "mean_field", "pathfinder"))
    assert list(report.elbo) == ["init_loc", "laplace", "mean_field", "pathfinder"]
    assert report.elbo["laplace"] == pytest.approx(0.0, abs=1e-6)
    assert report.elbo["pathfinder"] == pytest.approx(0.0, abs=1e-3)
    assert report.elbo["mean_field"] < -1.0
    assert report.chosen in ("laplace", "pathfinder")


@pytest.mark.compiles
def test_failures_are_named(host):
    """A density that grows without bound in all directions: it has no mode."""

    def model():
        x = host.sample("x", host.dist.Normal(host.array(np.zeros(2)), 1.0).to_event(1))
        scale = math.e ** -(x**2)
        host.sample("y", host.dist.Normal(0.0 * x, scale).to_event(1), obs=host.array(np.zeros(2)))

    report = report_of(host, model, [0.2, 0.1], ("init_loc", "laplace", "pathfinder"))
    assert "init_loc" in report.elbo and "laplace" in report.failed
    assert set(report.elbo) | set(report.failed) == {"init_loc", "laplace", "pathfinder"}
    assert not set(report.elbo) & set(report.failed)
    assert all(reason for reason in report.failed.values())


def test_laplace_fails_by_name_at_a_pole(host):
    """A density that grows without bound towards a point."""

    def model():
        x = host.sample("x", host.dist.Normal(host.array(0.0), host.array(1.0)))
        host.sample("y", host.dist.Normal(host.array(0.0), abs(x)), obs=host.array(0.0))

    report = report_of(host, model, 0.7, ("init_loc", "laplace", "pathfinder"))
    assert "Hessian" in report.failed["laplace"] or "log density" in report.failed["laplace"]


@pytest.mark.compiles
def test_low_rank_start_beyond_the_dense_limit(host):
    """A normal distribution with one strong direction in 1200 dimensions."""
    dim = 1200
    direction = np.random.default_rng(1).standard_normal(dim)
    direction = host.array(direction / np.linalg.norm(direction))

    def model():
        x = host.sample("x", host.dist.Normal(host.array(np.zeros(dim)), 1.0).to_event(1))
        host.sample("y", host.dist.Normal((x * direction).sum(), 0.01), obs=host.array(1.0))

    guide = host.AutoFlow(
        model,
        host.recipes.planar,
        init=("laplace", "pathfinder"),
        init_loc_fn=host.init_to_value({"x": host.array(np.full(dim, 0.1))}),
    )
    fitted = host.fit(model, guide, 1, learning_rate=1e-8, num_particles=2)
    report = guide.init_report
    assert "dense limit (D=1200)" in report.failed["laplace"]
    # y is standard normal but for its small noise
    evidence = -0.5 * (1.0 / 1.0001 + np.log(2 * np.pi * 1.0001))
    assert report.elbo["pathfinder"] == pytest.approx(evidence, abs=0.05)
    assert host.elbo(fitted, 20) == pytest.approx(evidence, abs=0.1)
    draws = host.draws(fitted, 200)["x"]
    assert (draws @ host.numpy(direction)).std() < 0.02
    z = np.random.default_rng(2).standard_normal((3, dim))
    assert np.isfinite(host.unconstrained_log_prob(fitted, z)).all()


def low_rank_factor(rng, dim, rank):
    frame, _ = np.linalg.qr(rng.standard_normal((dim, rank)))
    core = np.tril(rng.standard_normal((rank, rank)), -1) + np.diag(rng.uniform(0.5, 2.0, rank))
    return rng.standard_normal(dim), rng.uniform(0.5, 2.0, dim), frame, core


def test_fixed_low_rank_layer_agrees_with_the_dense_matrix(backend):
    rng = np.random.default_rng(3)
    loc, scale, frame, core = low_rank_factor(rng, 5, 2)
    layers = backend.load("infer.starts.fixed_low_rank")
    layer = layers.FixedLowRank(*(backend.array(a) for a in (loc, scale, frame, core)))
    matrix = scale[:, None] * (np.eye(5) + frame @ (core - np.eye(2)) @ frame.T)
    x = rng.standard_normal((4, 3, 5))
    y, log_det = backend.apply(layer, "forward_and_log_det", backend.array(x))
    np.testing.assert_allclose(y, loc + x @ matrix.T, rtol=1e-12, atol=1e-12)
    expected = np.linalg.slogdet(matrix)[1]
    np.testing.assert_allclose(log_det, np.full((4, 3), expected), rtol=1e-12)
    back, inverse_log_det = backend.apply(layer, "inverse_and_log_det", backend.array(y))
    np.testing.assert_allclose(back, x, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-12)


def test_low_rank_gaussian_as_a_dense_one(backend):
    rng = np.random.default_rng(4)
    arrays = [backend.array(a) for a in low_rank_factor(rng, 6, 2)]
    gaussian = backend.load("infer.starts.gaussian").Gaussian(*arrays)
    dense, noise = gaussian.dense(), backend.array(rng.standard_normal((3, 6)))
    scale = backend.numpy(dense.scale)
    assert np.allclose(scale, np.tril(scale)) and (np.diag(scale) > 0).all()
    identity = backend.array(np.eye(6))
    root = backend.numpy(gaussian.draw(identity)) - backend.numpy(gaussian.loc)
    np.testing.assert_allclose(scale @ scale.T, root.T @ root, rtol=1e-10, atol=1e-12)
    expected = float(gaussian.entropy(noise))
    assert float(dense.entropy(noise)) == pytest.approx(expected, rel=1e-10)


def test_bad_low_rank_layers(backend):
    layer = backend.load("infer.starts.fixed_low_rank").FixedLowRank
    loc, scale, frame, core = (
        backend.array(a) for a in low_rank_factor(np.random.default_rng(5), 4, 2)
    )
    with pytest.raises(ValueError, match=r"loc, scale and core must have shapes \(4,\)"):
        layer(loc, scale[:3], frame, core)
    with pytest.raises(ValueError, match="scale and core must be finite with a positive diagonal"):
        layer(loc, -scale, frame, core)
