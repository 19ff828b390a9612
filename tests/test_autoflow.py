"""AutoFlow on both hosts: starts, densities, and its use in the hosts' own inference."""

import copy
import re

import numpy as np
import pytest
import scipy.stats
from guides import (
    ADAPTERS,
    FEATURES,
    NUM_FEATURES,
    PRIOR_SCALES,
    TARGET,
    regression_evidence,
    regression_posterior,
)


@pytest.fixture(params=["pyro", "numpyro"])
def host(request):
    with ADAPTERS[request.param]().float64() as host:
        yield host


def gamma_model(host):
    def model():
        host.sample("x", host.dist.Gamma(host.array(3.0), host.array(2.0)))

    return model


def regression_model(host):
    features, target = host.array(FEATURES), host.array(TARGET)
    scales = host.array(PRIOR_SCALES)

    def model():
        weights = host.sample("weights", host.dist.Normal(0.0 * scales, scales).to_event(1))
        with host.plate("rows", len(TARGET)):
            loc = host.matmul(features, weights)
            host.sample("target", host.dist.Normal(loc, host.array(1.0)), obs=target)

    return model


@pytest.mark.compiles
def test_one_latent_dimension(host):
    model = gamma_model(host)
    guide = host.AutoFlow(model, host.recipes.nsf)
    fitted = host.fit(model, guide, 300)
    # the evidence is 0 exactly
    assert -0.02 < host.elbo(fitted, 500) < 0.01
    draws = host.draws(fitted, 4000)["x"]
    # a short fit: its distribution function is near the exact one, not equal to it
    assert scipy.stats.kstest(draws, scipy.stats.gamma(3.0, scale=0.5).cdf).statistic < 0.08


@pytest.mark.compiles
def test_density_of_constrained_values_integrates_to_one(host):
    model = gamma_model(host)
    fitted = host.fit(model, host.AutoFlow(model, host.recipes.maf), 20)
    x = np.exp(np.linspace(-12, 5, 4001))
    density = np.exp(host.log_density(fitted, {"x": x}))
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-3)
    # unconstrained: the log of x
    z = np.log(x)
    other = np.exp(host.unconstrained_log_prob(fitted, z[:, None]))
    np.testing.assert_allclose(other, density * x, rtol=1e-8)


@pytest.mark.compiles
def test_median_and_quantiles(host):
    model = gamma_model(host)
    fitted = host.fit(model, host.AutoFlow(model, tails="normal"), 300)
    levels = [0.05, 0.5, 0.95]
    found = host.quantiles(fitted, levels)["x"]
    assert found.shape == (3,)
    assert host.median(fitted)["x"] == pytest.approx(found[1])
    np.testing.assert_allclose(found, scipy.stats.gamma(3.0, scale=0.5).ppf(levels), rtol=0.1)


@pytest.mark.compiles
def test_badly_scaled_regression_starts_at_the_exact_posterior(host):
    model = regression_model(host)
    guide = host.AutoFlow(model, host.recipes.realnvp)
    fitted = host.fit(model, guide, 1, learning_rate=1e-6)
    assert guide.init_report.chosen in ("laplace", "pathfinder")
    assert set(guide.init_report.elbo) | set(guide.init_report.failed) == {
        "init_loc",
        "laplace",
        "mean_field",
        "pathfinder",
    }
    assert host.elbo(fitted, 200) == pytest.approx(regression_evidence(), abs=0.02)
    draws = host.draws(fitted, 2000)["weights"]
    mean, sd = regression_posterior()
    np.testing.assert_allclose((draws.mean(0) - mean) / sd, 0.0, atol=0.12)
    np.testing.assert_allclose(draws.std(0) / sd, 1.0, atol=0.12)


@pytest.mark.compiles
def test_init_loc_fn_is_honoured(host):
    def model():
        host.sample("x", host.dist.Normal(host.array(0.0), host.array(1000.0)))

    init = host.init_to_value({"x": host.array(25.0)})
    guide = host.AutoFlow(model, init="init_loc", init_loc_fn=init)
    fitted = host.fit(model, guide, 1, learning_rate=1e-6)
    assert host.median(fitted)["x"] == pytest.approx(25.0, abs=0.05)


@pytest.mark.slow
def test_training_improves_on_the_start(host):
    """A banana: no Gaussian start fits it."""

    def model():
        x = host.sample("x", host.dist.Normal(host.array(0.0), host.array(1.0)))
        host.sample("y", host.dist.Normal(x**2, host.array(0.3)))

    guide = host.AutoFlow(model, host.recipes.nsf)
    fitted = host.fit(model, guide, 400)
    best = max(guide.init_report.elbo.values())
    assert best < -0.6
    assert -0.25 < host.elbo(fitted, 1000) < 0.02


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.compiles
def test_elbo_particles(host, vectorize):
    model = gamma_model(host)
    guide = host.AutoFlow(model, host.recipes.iaf)
    fitted = host.fit(model, guide, 5, num_particles=4, vectorize=vectorize)
    assert np.isfinite(fitted.losses).all()


@pytest.mark.compiles
def test_predictive(host):
    def prior():
        x = host.sample("x", host.dist.Normal(host.array(0.0), host.array(1.0)))
        return host.sample("y", host.dist.Normal(x, host.array(0.1)))

    def model():
        x = host.sample("x", host.dist.Normal(host.array(0.0), host.array(1.0)))
        host.sample("y", host.dist.Normal(x, host.array(0.1)), obs=host.array(2.0))

    fitted = host.fit(model, host.AutoFlow(model), 2)
    y = host.predictive(fitted, prior, 400)["y"]
    assert y.shape == (400,)
    assert y.mean() == pytest.approx(2.0 / 1.01, abs=0.05)


@pytest.mark.slow
def test_neutra_samples_the_posterior(host):
    model = regression_model(host)
    fitted = host.fit(model, host.AutoFlow(model, host.recipes.realnvp), 2)
    draws = host.neutra(fitted, 100, 300)["weights"].reshape(-1, NUM_FEATURES)
    mean, sd = regression_posterior()
    np.testing.assert_allclose((draws.mean(0) - mean) / sd, 0.0, atol=0.3)
    np.testing.assert_allclose(np.log(draws.std(0) / sd), 0.0, atol=0.25)


def test_built_at_once_when_arguments_are_given(host):
    guide = host.AutoFlow(gamma_model(host), args=())
    assert guide.latent_dim == 1
    assert guide.init_report.chosen


@pytest.mark.compiles
def test_a_used_guide_can_be_copied(host):
    model = gamma_model(host)
    guide = host.AutoFlow(model)
    host.fit(model, guide, 2)
    assert copy.deepcopy(guide).latent_dim == 1


def test_bad_arguments(host):
    model = gamma_model(host)
    with pytest.raises(ValueError, match="init must be one of .*got 'newton'"):
        host.AutoFlow(model, init="newton")
    with pytest.raises(ValueError, match="init must name at least one start"):
        host.AutoFlow(model, init=())
    with pytest.raises(TypeError, match="flow must be a recipe or a Flow"):
        host.AutoFlow(model, flow="nsf")
    key = () if host.name == "pyro" else (host.jax.random.key(0),)
    with pytest.raises(ValueError, match=re.escape("flow must have input_dim=1")):
        host.AutoFlow(model, flow=host.recipes.nsf(*key, 3), args=())
    with pytest.raises(ValueError, match="flow must have context_dim=0, got 2"):
        host.AutoFlow(model, flow=host.recipes.nsf(*key, 1, context_dim=2), args=())


def test_no_start_works(host):
    def model():
        x = host.sample("x", host.dist.Normal(host.array(0.0), host.array(1.0)))
        host.sample(
            "y", host.dist.Normal(host.array(0.0), x**2 * float("inf")), obs=host.array(0.0)
        )

    init = host.init_to_value({"x": host.array(1.0)})
    # NumPyro itself already refuses a density that is nowhere finite
    errors = (ValueError, RuntimeError)
    with pytest.raises(errors, match="init must hold a start that works|valid initial parameters"):
        host.AutoFlow(model, init="init_loc", init_loc_fn=init, args=())


def test_local_latent_variables_are_refused(host):
    def model():
        with host.plate("rows", 10, subsample_size=3):
            host.sample("x", host.dist.Normal(host.array(0.0), host.array(1.0)))

    with pytest.raises(ValueError, match="subsampled plate|local latent"):
        host.AutoFlow(model, args=())
