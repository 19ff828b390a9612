"""Importance resampling: evidence, moments and warnings, in conjugate models on both hosts."""

import importlib
import math
import warnings

import numpy as np
import pytest
import scipy.stats
from guides import ADAPTERS

X = np.array([0.3, 1.9, 1.1, 0.6, 2.2])
# z ~ N(0, 2), x_i ~ N(z, 1)
PRECISION = 1.0 / 4.0 + len(X)
MEAN, SD = X.sum() / PRECISION, PRECISION**-0.5
EVIDENCE = scipy.stats.multivariate_normal(np.zeros(5), np.eye(5) + 4.0).logpdf(X)


class Journey:
    """The journey on either host."""

    def __init__(self, host):
        self.host = host
        self.infer = importlib.import_module(f"{host.name}_deepgen.infer")
        self.factor = (host.pyro if host.name == "pyro" else host.numpyro).factor

    def resample(self, model, guide, *args, params=None, seed=0, **options):
        if self.host.name == "numpyro":
            key = self.host.jax.random.key(seed)
            return self.infer.importance_resample(key, model, guide, params or {}, *args, **options)
        self.host.pyro.set_rng_seed(seed)
        return self.infer.importance_resample(model, guide, *args, **options)

    def again(self, result, *args):
        if self.host.name == "numpyro":
            args = (self.host.jax.random.key(7), *args)
        return {name: self.host.numpy(value) for name, value in result.resample(*args).items()}

    def normal(self, loc, scale):
        return self.host.dist.Normal(self.host.array(loc), self.host.array(scale))

    def model(self):
        z = self.host.sample("z", self.normal(0.0, 2.0))
        with self.host.plate("rows", len(X)):
            self.host.sample("x", self.host.dist.Normal(z, 1.0), obs=self.host.array(X))

    def guide(self, loc, scale):
        return lambda: self.host.sample("z", self.normal(loc, scale))


@pytest.fixture(params=["pyro", "numpyro"])
def journey(request):
    with ADAPTERS[request.param]().float64() as host:
        yield Journey(host)


def test_evidence_and_its_error(journey):
    """The error is honest: the standardised deviations have unit variance."""
    guide = journey.guide(MEAN + 0.2, 1.4 * SD)
    found = journey.resample(journey.model, guide, 10, num_proposals=80_000, chunk_size=8000)
    assert abs(found.log_evidence - EVIDENCE) < 4.0 * found.log_evidence_error
    numerics = importlib.import_module(f"{journey.host.name}_deepgen._numerics.importance")
    groups = [numerics.summarize_weights(group) for group in found.log_weights.reshape(200, 400)]
    deviations = np.array([(g.log_evidence - EVIDENCE) / g.log_evidence_error for g in groups])
    assert abs(deviations.mean()) < 4.0 / math.sqrt(200)
    assert 0.8 < deviations.std() < 1.2
    # coverage of 95 %, within four standard errors of a binomial share
    assert np.mean(np.abs(deviations) < 1.96) == pytest.approx(0.95, abs=0.062)


@pytest.mark.parametrize("replacement", [True, False])
def test_resampled_moments_with_a_wrong_guide(journey, replacement):
    guide = journey.guide(MEAN + 0.5 * SD, 1.6 * SD)
    found = journey.resample(
        journey.model, guide, 1000, num_proposals=20_000, replacement=replacement, chunk_size=3000
    )
    z = journey.host.numpy(found.samples["z"])
    assert z.shape == (1000,)
    assert found.proposals["z"].shape == found.log_weights.shape == (20_000,)
    assert found.log_weights.dtype == np.float64
    assert found.khat < 0.7 and 2000 < found.ess < 20_000
    assert z.mean() == pytest.approx(MEAN, abs=4 * SD / math.sqrt(1000))
    # without replacement a twentieth of all draws is taken, which flattens the weights a little
    assert z.std() == pytest.approx(SD, rel=0.1)
    if not replacement:
        assert len(np.unique(z)) == 1000


def test_exact_guide(journey):
    found = journey.resample(journey.model, journey.guide(MEAN, SD), num_proposals=100)
    assert found.log_evidence == pytest.approx(EVIDENCE, abs=1e-10)
    assert found.log_evidence_error < 1e-10
    assert found.ess == pytest.approx(100)
    assert found.samples["z"].shape == (1000,)


def test_too_narrow_a_guide_is_told(journey):
    guide = journey.guide(MEAN, 0.1 * SD)
    with pytest.warns(UserWarning, match="k-hat of the weights is .* above 0.7"):
        found = journey.resample(journey.model, guide, num_proposals=50_000, chunk_size=10_000)
    assert found.khat > 0.7


@pytest.mark.compiles
def test_trained_flow_guide(journey):
    host = journey.host

    def model():
        a = host.sample("a", host.dist.Gamma(host.array(3.0), host.array(2.0)))
        with host.plate("rows", 2):
            b = host.sample("b", host.dist.Normal(a, host.array(1.0)))
        host.sample("x", host.dist.Normal(b.sum(), host.array(1.0)), obs=host.array(2.0))

    guide = host.AutoFlow(model, host.recipes.realnvp)
    fitted = host.fit(model, guide, 2, num_particles=4, vectorize=False)
    found = journey.resample(
        model, guide, 50, num_proposals=2000, params=getattr(fitted, "params", None)
    )
    assert {k: tuple(v.shape) for k, v in found.samples.items()} == {"a": (50,), "b": (50, 2)}
    a = np.linspace(1e-6, 30.0, 200_001)
    likelihood = scipy.stats.norm(2.0 * a, math.sqrt(3.0)).pdf(2.0)
    evidence = np.trapezoid(scipy.stats.gamma(3.0, scale=0.5).pdf(a) * likelihood, a)
    assert abs(found.log_evidence - math.log(evidence)) < 4.0 * found.log_evidence_error
    assert found.log_evidence_error < 0.1


def test_models_that_do_not_take_a_plate_of_particles(journey):
    """A model written for scalars, drawn one by one where the host cannot do otherwise."""
    host = journey.host

    def model():
        z = host.sample("z", journey.normal(np.zeros(2), 1.0).to_event(1))
        assert tuple(z.shape) == (2,)
        host.sample("x", host.dist.Normal(z.sum(), host.array(1.0)), obs=host.array(1.0))

    def guide():
        host.sample("z", journey.normal(np.full(2, 1 / 3), 0.9).to_event(1))

    found = journey.resample(model, guide, 20, num_proposals=300)
    exact = scipy.stats.norm(0.0, math.sqrt(3.0)).logpdf(1.0)
    assert abs(found.log_evidence - exact) < 4.0 * found.log_evidence_error
    assert found.samples["z"].shape == (20, 2)


def test_draws_outside_the_support_weigh_nothing(journey):
    host = journey.host

    where = host.torch.where if host.name == "pyro" else host.jnp.where

    def model():
        z = host.sample("z", journey.normal(0.0, 1.0))
        journey.factor("positive", where(z > 0, host.array(0.0), host.array(-np.inf)))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered")  # the host's word on the factor
        found = journey.resample(model, journey.guide(0.0, 1.0), 200, num_proposals=2000)
        assert (journey.host.numpy(found.samples["z"]) > 0).all()
        assert found.log_evidence == pytest.approx(math.log(0.5), abs=4 / math.sqrt(2000))
        again = journey.again(found, 900, False)["z"]
        assert len(np.unique(again)) == 900 and (again > 0).all()
        with pytest.raises(ValueError, match="num_samples must be at most the number .* of draws"):
            journey.again(found, 1500, False)


def test_pairs_without_weights_are_refused(journey):
    host = journey.host
    normal = journey.normal

    def two():
        host.sample("z", normal(0.0, 1.0))
        host.sample("w", normal(0.0, 1.0))

    def discrete():
        k = host.sample("k", host.dist.Bernoulli(host.array(0.5)), infer={"enumerate": "parallel"})
        host.sample("z", host.dist.Normal(k * host.array(1.0), host.array(1.0)))

    def subsampled():
        z = host.sample("z", normal(0.0, 1.0))
        with host.plate("rows", 5, subsample_size=2):
            host.sample("x", host.dist.Normal(z, host.array(1.0)), obs=host.array(X[:2]))

    def point():
        host.sample("z", host.dist.Delta(host.array(0.3)))

    guide = journey.guide(0.0, 1.0)
    for model, pair, message in [
        (two, guide, r"guide must draw every latent site of the model, got none for \['w'\]"),
        (journey.model, two, r"latent sites of the model only, got \['w'\] besides"),
        (discrete, guide, r"model must have no enumerated latent sites, got \['k'\]"),
        (subsampled, guide, "no subsampled plates, got 'rows' with 2 of 5"),
        (journey.model, point, "guide must draw at random, got point estimates only"),
    ]:
        with pytest.raises(ValueError, match=message):
            journey.resample(model, pair)


def test_bad_arguments(journey):
    guide = journey.guide(0.0, 1.0)
    with pytest.raises(ValueError, match="num_proposals must be at least 25, got 10"):
        journey.resample(journey.model, guide, num_proposals=10)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        journey.resample(journey.model, guide, 0)
    with pytest.raises(ValueError, match="num_samples must be at most the number 50 of draws"):
        journey.resample(journey.model, guide, 60, num_proposals=50, replacement=False)
    with pytest.raises(TypeError, match="guide must be callable"):
        journey.resample(journey.model, None)


def test_weights_that_are_not_numbers_are_refused(journey):
    host = journey.host

    def model():
        z = host.sample("z", journey.normal(0.0, 1.0))
        journey.factor("bad", z * float("nan"))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered")
        # Pyro already refuses such a factor
        message = "not NaN or infinite where the guide draws, got 30 of|Expected parameter log_f"
        with pytest.raises(ValueError, match=message):
            journey.resample(model, journey.guide(0.0, 1.0), num_proposals=30)


def test_resampling_indices_follow_the_weights():
    importance = importlib.import_module("pyro_deepgen._numerics.importance")
    rng = np.random.default_rng(0)
    weights = np.array([0.0, 0.5, 0.2, 0.0, 0.3, 0.0])
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights) + 700.0
    found = importance.resample_indices(log_weights, rng.random((2, 10_000)), True)
    np.testing.assert_allclose(np.bincount(found, minlength=6) / 1e4, weights, atol=2e-4)
    # the order carries no information
    assert abs(np.corrcoef(found, np.arange(10_000))[0, 1]) < 0.05
    edge = importance.resample_indices(log_weights, np.full((2, 4), 1.0 - 1e-17), True)
    assert weights[edge].all()
    first = [importance.resample_indices(log_weights, rng.random(6), False)[0] for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(first, minlength=6) / 4e3, weights, atol=0.03)
