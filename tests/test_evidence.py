"""Evidence and what latent variables carry, against closed forms and naive sums."""

import math

import numpy as np
import pytest
from backends import BACKENDS, make_backend
from bounds import ADAPTERS, normal
from scipy.special import logsumexp

DATA = np.array([-1.5, 0.2, 0.9, 3.0])


@pytest.fixture(params=list(BACKENDS))
def bounds(request):
    """Either host, in double precision."""
    adapter = ADAPTERS[request.param]()
    with adapter.backend.precision(64):
        yield adapter


@pytest.fixture(params=list(BACKENDS))
def stream(request):
    """The accumulator of either package."""
    return make_backend(request.param).load("_numerics.streaming_weights").StreamingWeights()


@pytest.mark.parametrize("spread", [1.0, 100.0, 1e4])
def test_streamed_sums_are_naive_sums(stream, spread):
    log_weights = spread * np.random.default_rng(0).normal(size=(50, 3)) - 5.0 * spread
    log_weights[3, 1] = -np.inf
    for part in np.array_split(log_weights, [1, 2, 20]):
        stream.add(part)
    total = logsumexp(log_weights, 0)
    np.testing.assert_allclose(stream.log_mean(), total - math.log(50), rtol=1e-13)
    squares = logsumexp(2.0 * log_weights, 0)
    np.testing.assert_allclose(stream.ess(), np.exp(2.0 * total - squares), rtol=1e-9)
    weights = np.exp(log_weights - log_weights.max(0))
    error = weights.std(0, ddof=1) / weights.mean(0) / math.sqrt(50)
    np.testing.assert_allclose(stream.log_mean_error(), error, rtol=1e-9)
    finite = log_weights[:, [0, 2]]
    np.testing.assert_allclose(stream.mean_log()[[0, 2]], finite.mean(0), rtol=1e-12)
    expected = finite.std(0, ddof=1) / math.sqrt(50)
    np.testing.assert_allclose(stream.mean_log_error()[[0, 2]], expected, rtol=1e-10)
    assert stream.mean_log()[1] == -np.inf


def test_a_stream_starts_anywhere_and_refuses_what_is_no_weight(stream):
    stream.add(np.full((2, 2), -np.inf))
    assert (stream.log_mean() == -np.inf).all() and (stream.ess() == 0.0).all()
    stream.add(np.array([[0.0, -np.inf]]))
    np.testing.assert_allclose(stream.log_mean(), [-math.log(3.0), -np.inf])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not NaN or infinite.*1 of 2"):
            stream.add(np.array([[0.0, bad]]))


def pair(h, factor, scale, plate=None):
    """A conjugate pair; factor 0.5 and scale 0.5 ** 0.5 make the guide the posterior."""
    plate = plate or (lambda: h.plate("data", len(DATA)))

    def model(x):
        with plate():
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with plate():
            h.sample("z", h.dist.Normal(factor * x, scale))

    return model, guide


def test_the_posterior_gives_the_evidence_without_error(bounds):
    model, guide = pair(bounds, 0.5, 0.5**0.5)
    found = bounds.log_evidence(model, guide, 57, bounds.array(DATA), chunk=10)
    exact = normal(DATA, 0.0, 2.0**0.5)
    np.testing.assert_allclose(found.log_evidence, exact, atol=1e-10)
    np.testing.assert_allclose(found.elbo, exact, atol=1e-10)
    np.testing.assert_allclose(found.ess, 57.0, rtol=1e-10)
    assert found.num_samples == 57 and found.error.max() < 1e-6
    assert found.total == pytest.approx(exact.sum()) and found.mean == pytest.approx(exact.mean())
    assert found.mean_error == pytest.approx(exact.std(ddof=1) / 2.0)
    assert found.log_evidence.dtype == found.ess.dtype == np.float64


@pytest.mark.parametrize("chunk", [1, 300])
def test_a_wrong_guide_gives_it_within_its_error(bounds, chunk):
    model, guide = pair(bounds, 0.3, 0.9)
    num_samples = 100 if chunk == 1 else 20_000
    found = bounds.log_evidence(model, guide, num_samples, bounds.array(DATA), chunk=chunk)
    exact = normal(DATA, 0.0, 2.0**0.5)
    assert (np.abs(found.log_evidence - exact) < 5.0 * found.error).all()
    assert (found.error < 0.3).all() and (found.ess < num_samples).all()
    # the divergence of the guide from the posterior is known
    gap = 0.5 * (2 * 0.81 + 2 * (0.2 * DATA) ** 2 - 1.0 - math.log(2 * 0.81))
    assert (np.abs(found.elbo - (exact - gap)) < 5.0 * found.elbo_error).all()


def test_a_minibatch_stands_for_all_data(bounds):
    plate = lambda: bounds.part(100, 4)  # noqa: E731
    model, guide = pair(bounds, 0.5, 0.5**0.5, plate)
    found = bounds.log_evidence(model, guide, 10, bounds.array(np.ones(4)))
    assert found.scale == 25.0
    assert found.total == pytest.approx(100 * normal(1.0, 0.0, 2.0**0.5))


def test_discrete_and_joint_weights(bounds):
    h = bounds

    def model(x):
        level = h.sample("level", h.dist.Bernoulli(probs=h.array(0.3)))
        with h.plate("data", len(DATA)):
            h.sample("x", h.dist.Normal(2.0 * level, 1.0), obs=x)

    def guide(x):
        h.sample("level", h.dist.Bernoulli(probs=h.array(0.5)))

    with pytest.raises(ValueError, match="'level' outside it; pass joint=True"):
        h.log_evidence(model, guide, 10, h.array(DATA))
    found = h.log_evidence(model, guide, 4000, h.array(DATA), joint=True)
    cases = [
        math.log(0.7) + normal(DATA, 0.0, 1.0).sum(),
        math.log(0.3) + normal(DATA, 2.0, 1.0).sum(),
    ]
    assert found.log_evidence.shape == ()
    assert abs(found.total - logsumexp(cases)) < 5.0 * found.total_error


def test_models_that_do_not_follow_particles_are_run_one_by_one(bounds):
    h = bounds

    def model(x):
        with h.plate("data", 4):
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(z.reshape((2, 2)).reshape((4,)), 1.0), obs=x)

    _, guide = pair(h, 0.5, 0.5**0.5)
    found = h.log_evidence(model, guide, 5, h.array(DATA))
    np.testing.assert_allclose(found.log_evidence, normal(DATA, 0.0, 2.0**0.5), atol=1e-10)


def test_a_density_that_is_not_finite_is_told(bounds):
    h = bounds
    model, _ = pair(h, 0.5, 1.0)

    def guide(x):
        with h.plate("data", len(DATA)):
            h.sample("z", h.dist.Normal(x, h.array(1.0)))
            h.sample("other", h.dist.Delta(x * np.nan), infer={"is_auxiliary": True})

    with pytest.raises(ValueError):
        h.log_evidence(model, guide, 10, h.array(DATA))


def linear(h, x, num_units=3):
    """Posteriors N(a x_n, s) in the first unit, the prior in the others."""

    def model():
        with h.plate("data", len(x)):
            z = h.sample("z", h.dist.Normal(h.array(np.zeros(num_units)), 1.0).to_event(1))
            h.sample("x", h.dist.Normal(z.sum(-1), 1.0), obs=h.array(x))

    def guide():
        slopes = np.zeros(num_units)
        slopes[0] = 0.8
        scales = np.ones(num_units)
        scales[0] = 0.6
        with h.plate("data", len(x)):
            h.sample("z", h.dist.Normal(h.array(x[:, None] * slopes), h.array(scales)).to_event(1))

    return model, guide


def statistics(h, model, guide, *args, **options):
    if hasattr(h, "pyro"):
        h.pyro.set_rng_seed(0)
        return h.infer.latent_statistics(model, guide, *args, **options)
    return h.infer.latent_statistics(h.jax.random.key(0), model, guide, {}, *args, **options)


def test_latent_statistics_of_a_linear_pair(bounds):
    x = np.random.default_rng(1).normal(size=400)
    model, guide = linear(bounds, x)
    found = statistics(bounds, model, guide, "z", 40)
    assert found.num_active == 1
    assert abs(found.activity[0] - (0.8 * x).var(ddof=1)) < 5.0 * found.activity_error[0]
    assert (np.abs(found.activity[1:]) < 0.005).all()
    divergences = 0.5 * (0.36 + 0.64 * x**2 - 1.0 - math.log(0.36))
    assert abs(found.kl_per_unit[0] - divergences.mean()) < 0.05
    np.testing.assert_allclose(found.kl_per_unit[1:], 0.0, atol=1e-10)
    assert found.kl == pytest.approx(found.kl_per_unit.sum())
    assert found.kl == pytest.approx(found.mutual_information + found.aggregated_gap)
    # data and draws are jointly normal
    exact = 0.5 * math.log(1.0 + 0.64 * x.var() / 0.36)
    assert abs(found.mutual_information - exact) < 5.0 * found.mutual_information_error
    assert abs(found.aggregated_gap) < 0.1


def test_latent_statistics_of_posteriors_that_overflow_far_from_their_datum(bounds):
    """As the inverse of a flow does; what is not a number there is no mass."""
    h, x = bounds, np.array([-40.0, -20.0, 0.0, 20.0, 40.0])

    class Overflowing(h.dist.Normal):
        def log_prob(self, value):
            found = super().log_prob(value)
            far = abs(value - self.loc) > 10.0
            if hasattr(h, "pyro"):
                return h.torch.where(far, h.torch.nan, found)
            return h.jnp.where(far, h.jnp.nan, found)

    def program(make):
        def run():
            with h.plate("data", len(x)):
                h.sample("z", make(h.array(x), 1.0))

        return run

    model = program(lambda x, scale: h.dist.Normal(0.0 * x, 30.0 * scale))
    found = statistics(h, model, program(Overflowing), "z", 20)
    expected = statistics(h, model, program(h.dist.Normal), "z", 20)
    assert found.mutual_information == pytest.approx(expected.mutual_information, abs=1e-9)
    assert found.mutual_information == pytest.approx(np.log(5), abs=1e-9)


def test_latent_statistics_refuse_other_sites(bounds):
    h = bounds
    model, guide = linear(h, np.ones(5))
    with pytest.raises(ValueError, match="latent site of the model, got 'x'"):
        statistics(h, model, guide, "x")

    def top_down():
        with h.plate("data", 5):
            a = h.sample("a", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("b", h.dist.Normal(a, 1.0))

    with pytest.raises(ValueError, match="'b' must have a posterior that depends on data alone"):
        statistics(h, top_down, top_down, "b")
