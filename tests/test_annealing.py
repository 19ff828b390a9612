"""Annealing: evidence and modes of known densities, the start of a guide, and its coverage."""

import importlib
import math

import numpy as np
import pytest
from guides import ADAPTERS

from pyro_deepgen._numerics.gaussian_mixture import GaussianMixture, fit_mixture, mode_labels
from pyro_deepgen.infer.annealing.broad import broad_normal
from pyro_deepgen.infer.annealing.modes import find_modes, has_several_modes

RADIUS, SCALE = 4.0, 0.4
ANGLES = 2 * np.pi * np.arange(8) / 8
CENTRES = RADIUS * np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1)
RING = GaussianMixture(np.full(8, 1 / 8), CENTRES, np.tile(SCALE * np.eye(2), (8, 1, 1)))


class Journey:
    """The journey on either host."""

    def __init__(self, host):
        self.host = host
        self.infer = importlib.import_module(f"{host.name}_deepgen.infer")
        self.factor = (host.pyro if host.name == "pyro" else host.numpyro).factor

    def _call(self, function, *args, seed, **options):
        if self.host.name == "numpyro":
            return function(self.host.jax.random.key(seed), *args, **options)
        self.host.pyro.set_rng_seed(seed)
        return function(*args, **options)

    def particles(self, model, *args, seed=0, **options):
        return self._call(self.infer.annealed_particles, model, *args, seed=seed, **options)

    def cover(self, model, guide, num_particles=256, *, params=None, seed=0, **options):
        if self.host.name == "numpyro":
            args = (model, guide, params or {}, num_particles)
        else:
            args = (model, guide, num_particles)
        return self._call(self.infer.coverage, *args, seed=seed, **options)

    def guide(self, model, **options):
        if self.host.name == "pyro":
            self.host.pyro.set_rng_seed(0)
        return self.infer.AutoFlow(model, args=(), **options)

    def draws(self, guide, count):
        """Draws of a guide as it is built."""
        if self.host.name == "pyro":
            return self.host.numpy(guide.sample_posterior((count,))["z"])
        params = {f"{guide.prefix}_flow$params": guide._flow}
        key = self.host.jax.random.key(1)
        return np.asarray(guide.get_posterior(params).sample(key, (count,)))

    def normal(self, loc, scale):
        return self.host.dist.Normal(self.host.array(loc), self.host.array(scale))

    def logsumexp(self, terms):
        if self.host.name == "pyro":
            return self.host.torch.logsumexp(terms, -1)
        return self.host.jax.scipy.special.logsumexp(terms, -1)


@pytest.fixture(params=["pyro", "numpyro"])
def journey(request):
    with ADAPTERS[request.param]().float64() as host:
        yield Journey(host)


def ring_model(journey, scale=SCALE):
    """Eight normals; the evidence is 1."""

    def model():
        prior = journey.normal(np.zeros(2), 1.0).to_event(1)
        z = journey.host.sample("z", prior)
        terms = journey.normal(CENTRES, scale).to_event(1).log_prob(z[..., None, :])
        journey.factor("ring", journey.logsumexp(terms) - math.log(8) - prior.log_prob(z))

    return model


def normal_model(journey, dim=4):
    """A conjugate model; the evidence is known."""
    data = np.linspace(-1.0, 2.0, dim)

    def model():
        z = journey.host.sample("z", journey.normal(np.zeros(dim), 3.0).to_event(1))
        obs = journey.host.array(data)
        noise = journey.host.dist.Normal(z, journey.host.array(0.1)).to_event(1)
        journey.host.sample("x", noise, obs=obs)

    variance = 9.0 + 0.01
    evidence = -0.5 * (data**2 / variance + np.log(2 * np.pi * variance)).sum()
    return model, evidence, data * 9.0 / variance


def ring_shares(z):
    mode = np.rint(np.arctan2(z[:, 1], z[:, 0]) / (np.pi / 4)).astype(int) % 8
    return np.bincount(mode, minlength=8) / len(z)


# mixtures


def test_mixture_density_is_that_of_its_parts():
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(0)
    factors = np.tril(rng.normal(size=(3, 2, 2))) + 2.0 * np.eye(2)
    mixture = GaussianMixture(np.array([0.2, 0.3, 0.5]), rng.normal(size=(3, 2)), factors)
    points = rng.normal(size=(20, 2))
    parts = [
        weight * multivariate_normal(loc, factor @ factor.T).pdf(points)
        for weight, loc, factor in zip(mixture.weights, mixture.locs, factors, strict=True)
    ]
    np.testing.assert_allclose(np.exp(mixture.log_prob(points)), np.sum(parts, 0), rtol=1e-12)
    white, mean, scale_tril = mixture.standardized()
    np.testing.assert_allclose(white.moments()[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(white.moments()[1], np.eye(2), atol=1e-12)
    back = white.affine(mean, scale_tril)
    np.testing.assert_allclose(back.log_prob(points), mixture.log_prob(points), rtol=1e-10)


def test_expectation_maximisation_finds_a_known_mixture():
    rng = np.random.default_rng(0)
    true = GaussianMixture(
        np.array([0.2, 0.8]),
        np.array([[-3.0, 0.0, 1.0], [2.0, 1.0, 0.0]]),
        np.stack([np.diag([1.0, 0.5, 2.0]), np.eye(3) + np.tril(np.full((3, 3), 0.5), -1)]),
    )
    points = true.draw(rng, 4000)
    found = fit_mixture(points, rng)
    order = np.argsort(found.weights)
    assert len(order) == 2
    np.testing.assert_allclose(found.weights[order], true.weights, atol=0.02)
    np.testing.assert_allclose(found.locs[order], true.locs, atol=0.25)
    covariances = found.scale_trils[order] @ found.scale_trils[order].mT
    np.testing.assert_allclose(covariances, true.scale_trils @ true.scale_trils.mT, atol=0.5)
    # no mixture is likelier by more than chance
    assert found.log_prob(points).mean() > true.log_prob(points).mean() - 1e-3


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_number_of_components_and_modes(seed):
    rng = np.random.default_rng(seed)
    ring = fit_mixture(RING.draw(rng, 1024), rng)
    assert len(ring.weights) == 8 and len(set(mode_labels(ring, rng))) == 8
    normal = fit_mixture(rng.standard_normal((1024, 5)), rng)
    assert len(normal.weights) == 1
    x = rng.standard_normal(1024)
    banana = np.stack([x, x**2 + 0.3 * rng.standard_normal(1024)], -1)
    bent = fit_mixture(banana, rng)
    assert len(bent.weights) > 1 and len(set(mode_labels(bent, rng))) == 1


def test_masses_come_from_weights_not_from_counts():
    """Particles in the wrong proportions: importance weights mend them."""
    rng = np.random.default_rng(0)
    true = GaussianMixture(
        np.array([0.9, 0.1]), np.array([[-5.0], [5.0]]), np.array([[[1.0]], [[0.5]]])
    )
    even = GaussianMixture(np.array([0.5, 0.5]), true.locs, true.scale_trils)
    modes = find_modes(even.draw(rng, 400), lambda z: true.log_prob(z) + 3.0, rng)
    np.testing.assert_allclose(modes.masses, [0.9, 0.1], atol=0.02)
    assert modes.log_evidence == pytest.approx(3.0, abs=5 * modes.log_evidence_error + 1e-3)
    assert has_several_modes(modes, modes.elbo)
    assert not has_several_modes(modes, modes.elbo + 10.0)


def test_singular_points_are_refused():
    with pytest.raises(ValueError, match="points must span all 2 dimensions"):
        fit_mixture(np.ones((100, 2)), np.random.default_rng(0))


def test_broad_distribution_covers_prior_and_start():
    rng = np.random.default_rng(0)
    prior = rng.standard_normal((64, 2)) * [1.0, 100.0]
    loc, scale_tril = broad_normal(prior, np.array([30.0, 0.0]), np.array([1.0, 1.0]))
    widths = np.sqrt(np.diagonal(scale_tril @ scale_tril.T))
    assert widths[0] > 29.0 and widths[1] > 75.0
    loc, scale_tril = broad_normal(None, np.array([2.0]), np.array([3.0]))
    assert loc[0] == 2.0 and scale_tril[0, 0] > 9.0


# annealing


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.compiles
def test_evidence_of_a_conjugate_model(journey, seed):
    model, evidence, mean = normal_model(journey)
    result = journey.particles(model, 512, num_moves=2, num_leapfrog_steps=6, seed=seed)
    assert abs(result.log_evidence - evidence) < 5 * max(result.log_evidence_error, 0.05)
    error = 5 * 0.1 / math.sqrt(512 / 4)
    np.testing.assert_allclose(result.points.mean(0), mean, atol=error)
    assert len(result.modes.masses) == 1
    found = result.modes
    assert found.log_evidence == pytest.approx(evidence, abs=5 * found.log_evidence_error)


@pytest.mark.compiles
def test_evidence_and_modes_of_a_ring(journey):
    result = journey.particles(ring_model(journey), 512, num_moves=2)
    assert abs(result.log_evidence) < 5 * max(result.log_evidence_error, 0.05)
    np.testing.assert_allclose(result.modes.masses, 1 / 8, rtol=0.1)
    assert "8 mode(s)" in str(result)
    assert journey.host.numpy(result.samples["z"]).shape == (512, 2)


@pytest.mark.slow
def test_error_of_the_evidence_is_honest(journey):
    """Over independent runs the errors are those that the islands tell."""
    model = ring_model(journey)
    results = [journey.particles(model, 256, seed=seed) for seed in range(20)]
    scaled = [r.log_evidence / max(r.log_evidence_error, 1e-3) for r in results]
    # islands of 64 particles, four of them: heavy-tailed, but of the right size
    assert np.median(np.abs(scaled)) < 2.0


@pytest.mark.compiles
def test_annealing_that_does_not_arrive_says_so(journey):
    model, _, _ = normal_model(journey)
    with pytest.raises(journey.infer.AnnealingError, match="1 temperatures led to an inverse"):
        journey.particles(model, 256, max_stages=1)


def test_arguments(journey):
    model, _, _ = normal_model(journey)
    with pytest.raises(ValueError, match="num_particles must be a multiple of num_repeats=4"):
        journey.particles(model, 513)
    with pytest.raises(ValueError, match="num_repeats must be"):
        journey.particles(model, 512, num_repeats=1)
    with pytest.raises(TypeError, match="model must be callable"):
        journey.particles("model")
    with pytest.raises(ValueError, match="tails must be one of"):
        journey.host.AutoFlow(model, tails="heavy")


# the base


@pytest.mark.compiles
def test_fixed_mixture(journey):
    """Its density is that of the mixture, its draws are pathwise, its arrays are not trained."""
    host = journey.host
    arrays = [host.array(array) for array in (RING.weights, RING.locs, RING.scale_trils)]
    base = host.recipes.FixedMixture(*arrays)
    density = base()
    points = RING.draw(np.random.default_rng(0), 50)
    np.testing.assert_allclose(
        host.numpy(density.log_prob(host.array(points))), RING.log_prob(points), rtol=1e-6
    )
    assert density.has_rsample and density.expand((3,)).batch_shape == (3,)
    if host.name == "pyro":
        draws = density.expand((4000,)).rsample()
        assert set(base.state_dict()) == {"logits", "loc", "scale_tril"}
        assert not list(base.parameters())
    else:
        key = host.jax.random.key(0)
        draws = density.sample(key, (4000,))
        grads = host.jax.grad(lambda base: base().sample(key).sum())(base)
        assert all(float(abs(leaf).max()) == 0.0 for leaf in host.jax.tree.leaves(grads))
    np.testing.assert_allclose(ring_shares(host.numpy(draws)), 1 / 8, atol=0.03)
    with pytest.raises(ValueError, match="weights, loc and scale_tril must have shapes"):
        host.recipes.FixedMixture(arrays[0][:3], *arrays[1:])
    with pytest.raises(ValueError, match="weights and scale_tril must be finite"):
        host.recipes.FixedMixture(-arrays[0], *arrays[1:])


# the start of a guide


@pytest.mark.compiles
def test_a_guide_starts_with_every_mode(journey):
    guide = journey.guide(ring_model(journey), init=("init_loc", "annealed"))
    report = guide.init_report
    assert report.chosen == "annealed"
    assert report.elbo["annealed"] == pytest.approx(0.0, abs=0.05)
    assert len(report.annealed.modes.masses) == 8
    np.testing.assert_allclose(ring_shares(journey.draws(guide, 4000)), 1 / 8, atol=0.03)


@pytest.mark.parametrize(
    "options, expected", [({}, "StandardNormal"), ({"tails": "student_t"}, "StudentT")]
)
@pytest.mark.compiles
def test_a_normal_posterior_keeps_a_gaussian_start(journey, options, expected):
    model, _, _ = normal_model(journey)
    guide = journey.guide(model, init=("init_loc", "laplace", "annealed"), **options)
    assert guide.init_report.chosen == "laplace"
    assert guide.init_report.annealed is not None
    base = (guide.flow if journey.host.name == "pyro" else guide._flow).base_dist
    assert type(base).__name__ == expected


def test_annealing_as_the_only_start(journey):
    model, evidence, _ = normal_model(journey)
    report = journey.guide(model, init="annealed").init_report
    assert report.chosen == "annealed"
    assert report.elbo["annealed"] == pytest.approx(evidence, abs=0.3)


@pytest.mark.parametrize("tails", ["student_t", "normal"])
@pytest.mark.compiles
def test_a_base_of_the_users_own_is_kept(journey, tails):
    recipes = journey.host.recipes
    if journey.host.name == "pyro":
        base = recipes.FullNormal(2)
    else:
        base = recipes.FullNormal(journey.host.jax.random.key(0), 2)

    def recipe(*args):
        return recipes.realnvp(*args, 1, (8,), base_dist=base)

    guide = journey.guide(ring_model(journey), flow=recipe, init="init_loc", tails=tails)
    found = (guide.flow if journey.host.name == "pyro" else guide._flow).base_dist
    assert type(found).__name__ == "FullNormal"


@pytest.mark.slow
def test_training_keeps_every_mode(journey):
    model = ring_model(journey)
    guide = journey.guide(model)
    fitted = journey.host.fit(model, guide, 500, num_particles=8)
    assert journey.host.elbo(fitted, 2000) == pytest.approx(0.0, abs=0.1)
    shares = ring_shares(journey.host.draws(fitted, 8000)["z"])
    np.testing.assert_allclose(shares, 1 / 8, rtol=0.2)


# coverage


def mode_guide(journey, centres, scale=1.1 * SCALE):
    """A normal at one centre, or a mixture of normals at several."""

    def guide():
        dist = journey.host.dist
        logits = journey.host.array(np.zeros(len(centres)))
        parts = journey.normal(np.array(centres), scale).to_event(1)
        journey.host.sample("z", dist.MixtureSameFamily(dist.Categorical(logits=logits), parts))

    return guide


@pytest.mark.compiles
def test_coverage_names_lost_modes(journey):
    model = ring_model(journey)
    result = journey.cover(model, mode_guide(journey, CENTRES[:3]), num_repeats=4)
    # k-hat sees nothing
    assert result.khat < 0.5
    assert abs(result.fraction - 3 / 8) < 5 * max(result.fraction_error, 0.02)
    assert len(result.lost_modes) == 5
    assert str(result).count("LOST") == 5


@pytest.mark.slow
def test_coverage_of_the_posterior_itself(journey):
    model = ring_model(journey)
    result = journey.cover(model, mode_guide(journey, CENTRES), num_repeats=4)
    assert abs(result.fraction - 1.0) < 5 * max(result.fraction_error, 0.05)
    assert not result.lost_modes
    np.testing.assert_allclose(result.guide_masses, 1 / 8, atol=0.05)
