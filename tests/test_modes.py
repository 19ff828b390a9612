"""Ways to every mode: mass-covering training, tempered bounds and several starts, on both hosts."""

import importlib
import math

import numpy as np
import pytest
from bounds import ADAPTERS as BOUNDS
from bounds import normal
from guides import ADAPTERS
from scipy.special import logsumexp

# two modes on the line, and their masses
CENTRES, SCALE, MASSES = np.array([-3.0, 3.0]), 0.6, np.array([0.3, 0.7])
GRID = np.linspace(-9.0, 9.0, 4001)
STEP = GRID[1] - GRID[0]


def log_target(z):
    """Log density of the two modes, normalised."""
    return logsumexp(normal(z[..., None], CENTRES, SCALE) + np.log(MASSES), -1)


class Journey:
    """The journey on either host, in double precision."""

    def __init__(self, host):
        self.host, self.name = host, host.name
        self.infer = importlib.import_module(f"{host.name}_deepgen.infer")
        self.fab = importlib.import_module(f"{host.name}_deepgen.infer.fab.square")
        self.model = self.two_modes()
        self.bound = importlib.import_module(f"{host.name}_deepgen.infer.fab.bound")

    def call(self, function, *args, seed=0, **options):
        if self.name == "numpyro":
            return function(self.host.jax.random.key(seed), *args, **options)
        self.host.pyro.set_rng_seed(seed)
        return function(*args, **options)

    def two_modes(self, centres=CENTRES, scale=SCALE, masses=MASSES):
        """A model with a mixture of two normals as its posterior, of evidence 1."""
        host, pyro = self.host, self.host.pyro if self.name == "pyro" else self.host.numpyro
        centres, scale, logits = map(host.array, (centres, scale, np.log(masses)))
        wide = host.dist.Normal(host.array(0.0), host.array(3.0))
        total = host.torch.logsumexp if self.name == "pyro" else host.jax.scipy.special.logsumexp

        def model():
            z = host.sample("z", wide)
            parts = logits + host.dist.Normal(centres, scale).log_prob(z[..., None])
            pyro.factor("modes", total(parts, -1) - wide.log_prob(z))

        return model

    def guide(self, **options):
        if self.name == "pyro":
            self.host.pyro.clear_param_store()
            self.host.pyro.set_rng_seed(0)
        return self.host.AutoFlow(self.model, flow=self._flow, args=(), **options)

    def _flow(self, *args):
        return self.host.recipes.nsf(*args, 2, hidden_dims=(8,))

    def share(self, guide, result, count=4000):
        """Share of draws of a trained guide right of the middle."""
        if self.name == "pyro":
            draws = guide.sample_posterior((count,))["z"]
        else:
            key = self.host.jax.random.key(1)
            draws = guide.sample_posterior(key, result.params, sample_shape=(count,))["z"]
        return float((self.host.numpy(draws) > 0).mean())


@pytest.fixture(params=["pyro", "numpyro"])
def journey(request):
    with ADAPTERS[request.param]().float64() as host:
        yield Journey(host)


@pytest.fixture(params=["pyro", "numpyro"])
def bounds(request):
    adapter = BOUNDS[request.param]()
    with adapter.backend.precision(64):
        yield adapter


# annealing to the square


@pytest.mark.compiles
def test_annealed_weights_estimate_the_divergence(journey):
    """The mean weight is the integral of the square over the guide, here in closed form."""
    host, (loc, scale), wide = journey.host, (0.5, 0.8), 1.0
    log_p = lambda z: 0.7 + host.dist.Normal(loc, scale).log_prob(z).sum(-1)  # noqa: E731
    log_q = lambda z: host.dist.Normal(0.0, wide).log_prob(z).sum(-1)  # noqa: E731
    points = host.array(np.random.default_rng(0).normal(size=(4000, 1)))
    step = host.array(math.log(0.3)) if journey.name == "numpyro" else math.log(0.3)
    found = journey.call(journey.fab.anneal_to_square, log_p, log_q, points, step, 4, 3)
    weights = np.exp(host.numpy(found.log_weights))
    square = np.exp(2 * (0.7 + normal(GRID, loc, scale)) - normal(GRID, 0.0, wide))
    exact = square.sum() * STEP
    error = weights.std() / math.sqrt(len(weights))
    assert weights.mean() == pytest.approx(exact, abs=5 * error)
    # weighed points have the moments of the square
    mean = (GRID * square).sum() * STEP / exact
    share = weights / weights.sum()
    draws = host.numpy(found.points)[:, 0]
    spread = math.sqrt((share**2 * (draws - mean) ** 2).sum())
    assert (share * draws).sum() == pytest.approx(mean, abs=5 * spread)
    # one temperature without moves is plain importance sampling
    plain = journey.call(journey.fab.anneal_to_square, log_p, log_q, points, step, 1, 1)
    ratio = 0.7 + normal(points[:, 0], loc, scale) - normal(points[:, 0], 0.0, wide)
    np.testing.assert_allclose(host.numpy(plain.log_weights), 2 * host.numpy(ratio), rtol=1e-9)


@pytest.mark.compiles
def test_the_gradient_is_that_of_the_divergence(journey):
    """The batch gradient, over a grid as the buffer, against the divergence by quadrature."""
    loc, log_scale = 0.4, 0.9

    def divergence(loc, log_scale):
        log_q = normal(GRID, loc, math.exp(log_scale))
        return logsumexp(2 * log_target(GRID) - log_q) + math.log(STEP)

    eps = 1e-5
    exact = [
        (divergence(loc + eps, log_scale) - divergence(loc - eps, log_scale)) / (2 * eps),
        (divergence(loc, log_scale + eps) - divergence(loc, log_scale - eps)) / (2 * eps),
    ]
    log_q = normal(GRID, loc, math.exp(log_scale))
    log_weights = 2 * log_target(GRID) - log_q
    settings = journey.bound.FABSettings(2, 1, 1, 8, 200_000)
    found = batch_gradient(journey, (loc, log_scale), log_weights, log_q, settings)
    weights = np.exp(log_weights - logsumexp(log_weights))
    scale = math.exp(log_scale)
    scores = np.stack([(GRID - loc) / scale**2, ((GRID - loc) / scale) ** 2 - 1.0])
    for value, expected, score in zip(found, exact, scores, strict=True):
        error = math.sqrt((weights * (score + expected) ** 2).sum() / settings.batch_size)
        assert value == pytest.approx(expected, abs=5 * error)


def batch_gradient(journey, start, log_weights, log_q, settings):
    """Gradient of a normal guide's location and log-scale from a buffer that is not refreshed."""
    host = journey.host
    arrays = [host.array(array) for array in (GRID[:, None], log_weights, log_q)]
    if journey.name == "pyro":
        torch = host.torch
        loc, log_scale = (torch.tensor(value, requires_grad=True) for value in start)

        class Guide(torch.nn.Module):
            def forward(self):
                return {}

            def get_posterior(self):
                return host.dist.Normal(loc.expand(1), log_scale.exp()).to_event(1)

        buffered = journey.bound.GuideWithBuffer(Guide(), *arrays[:2])
        buffered.log_guides.copy_(arrays[2])
        buffered.step += 1
        host.pyro.set_rng_seed(0)
        journey.bound.BufferedDivergence(None, settings).loss_and_grads(None, buffered)
        return float(loc.grad), float(log_scale.grad)
    jnp, jax = host.jax.numpy, host.jax

    class Guide:
        def _get_posterior(self):
            import numpyro

            loc, log_scale = numpyro.param("loc", 0.0), numpyro.param("log_scale", 0.0)
            return host.dist.Normal(loc[None], jnp.exp(log_scale)).to_event(1)

    buffer = journey.bound.Buffer(*arrays, jnp.ones(()), jnp.zeros(()), jnp.array(1))
    bound = journey.bound.BufferedDivergence(Guide(), lambda z: z.sum(-1), settings)

    def loss(params):
        params = params | {journey.bound.BUFFER: buffer}
        return bound.loss(jax.random.key(0), params, None, None)

    grads = jax.grad(loss)({"loc": jnp.array(start[0]), "log_scale": jnp.array(start[1])})
    return float(grads["loc"]), float(grads["log_scale"])


def test_the_power_lets_a_share_of_the_buffer_count(journey):
    power = journey.bound._power
    array = journey.host.array
    assert float(power(array([0.0, 0.1, -0.1, -np.inf]))) == 1.0
    log_weights = np.append(np.linspace(0.0, 200.0, 200), -np.inf)
    found = float(power(array(log_weights)))
    weights = np.exp(found * (log_weights[:-1] - 200.0))
    assert 0.0 < found < 1.0
    assert weights.sum() ** 2 / (weights**2).sum() == pytest.approx(20.0, rel=1e-3)


# training


@pytest.mark.parametrize("init", ["laplace", pytest.param("annealed", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_every_mode_with_its_mass(journey, init):
    """From a guide at one mode; with particles that know of the other."""
    guide = journey.guide(init=init)
    particles = None
    if init == "laplace":
        particles = journey.call(journey.infer.annealed_particles, journey.model, 512)
    options = {"learning_rate": 1e-2, "progress": False, "particles": particles}
    result = journey.call(journey.infer.fit_fab, journey.model, guide, 600, **options)
    assert journey.share(guide, result) == pytest.approx(MASSES[1], abs=0.05)
    assert set(result.params) and not any("fab" in name for name in result.params)


@pytest.mark.slow
def test_training_resumes_bit_for_bit(journey, tmp_path):
    options = {"learning_rate": 1e-2, "progress": False, "evaluate_every": 10, "buffer_size": 256}
    options |= {"checkpoint_every": 20}

    def run(path, stop):
        guide = journey.guide(init="laplace")
        callback = lambda step, loss: step >= stop  # noqa: E731
        return journey.call(
            journey.infer.fit_fab, journey.model, guide, 60, callback=callback,
            checkpoint=tmp_path / path, **options,
        )  # fmt: skip

    whole = run("whole", 1000)
    run("cut", 30)
    resumed = run("cut", 1000)
    np.testing.assert_array_equal(whole.losses, resumed.losses)


@pytest.mark.compiles
def test_fab_arguments(journey):
    guide, fit_fab = journey.guide(init="init_loc"), journey.infer.fit_fab
    with pytest.raises(ValueError, match="buffer_size must be at least 128"):
        journey.call(fit_fab, journey.model, guide, buffer_size=64)
    with pytest.raises(ValueError, match="refresh_every must be"):
        journey.call(fit_fab, journey.model, guide, refresh_every=0)
    with pytest.raises(TypeError, match="guide must be a continuous guide"):
        journey.call(fit_fab, journey.model, lambda: None)


# tempered bounds


def tempered_pair(h):
    def model():
        z = h.sample("z", h.dist.Normal(h.array(2.0), 0.5))
        h.sample("x", h.dist.Normal(z, 1.0), obs=h.array(1.0))

    def guide():
        loc, log_scale = h.param("loc", h.array(0.3)), h.param("log_scale", h.array(-0.4))
        h.sample("z", h.dist.Normal(loc, h.exp(log_scale)))

    return model, guide


def test_tempered_bound_against_its_closed_form(bounds):
    h, (model, guide), start = bounds, tempered_pair(bounds), {"loc": 0.3, "log_scale": -0.4}
    scale = math.exp(-0.4)
    joint = normal(0.3, 2.0, 0.5) + normal(1.0, 0.3, 1.0) - 0.5 * scale**2 * (4.0 + 1.0)
    entropy = 0.5 * math.log(2 * math.pi * math.e) - 0.4
    for beta in (0.2, 1.0):
        loss, grads = h.grads(h.infer.TemperedELBO(beta, 20_000), start, model, guide)
        assert loss == pytest.approx(-(beta * joint + entropy), abs=0.2)
        slope = beta * ((2.0 - 0.3) / 0.25 + (1.0 - 0.3))
        assert grads["loc"] == pytest.approx(-slope, abs=0.2)
        assert grads["log_scale"] == pytest.approx(beta * 5.0 * scale**2 - 1.0, abs=0.15)


def test_at_weight_one_it_is_the_bound(bounds):
    h, (model, guide), start = bounds, tempered_pair(bounds), {"loc": 0.3, "log_scale": -0.4}
    elbo = h.infer.TemperedELBO(h.infer.KLWarmup(10, start=0.1))
    host_loss, host_grads = h.grads(h.hosts_elbo(), start, model, guide)
    loss, grads = h.grads(elbo, start, model, guide, kl_weight=1.0)
    assert loss == pytest.approx(host_loss, rel=1e-9)
    for name in start:
        np.testing.assert_allclose(grads[name], host_grads[name], rtol=1e-9)
    with pytest.raises(ValueError, match="kl_weight must be given"):
        h.grads(elbo, start, model, guide)
    for beta in (0.0, h.infer.KLWarmup(10)):
        with pytest.raises(ValueError, match="beta must be positive"):
            h.infer.TemperedELBO(beta)


@pytest.mark.slow
def test_tempering_finds_a_mode_that_the_bound_misses(journey):
    """A spline guide that begins at one mode."""
    shares = {}
    tempered = journey.infer.TemperedELBO(journey.infer.KLWarmup(500, start=0.05), num_particles=8)
    for name, loss in {"tempered": tempered, "plain": None}.items():
        guide = journey.guide(init="laplace")
        options = {"loss": loss, "learning_rate": 1e-2, "progress": False}
        result = journey.call(journey.infer.fit, journey.model, guide, 800, **options)
        shares[name] = journey.share(guide, result)
    assert shares["tempered"] == pytest.approx(MASSES[1], abs=0.1)
    assert shares["plain"] < 0.01 or shares["plain"] > 0.99


# several starts


@pytest.mark.compiles
def test_several_starts_find_what_one_does_not(journey):
    """The density falls from the initial location to a poor mode; a better one is elsewhere."""
    host = journey.host
    model = journey.two_modes([-1.5, 1.5], 0.2, [0.95, 0.05])
    options = {"init_loc_fn": host.init_to_value({"z": host.array(1.0)}), "args": ()}
    if journey.name == "pyro":
        host.pyro.set_rng_seed(0)
    guide = host.AutoFlow(model, init=("laplace", "mean_field", "multi_start"), **options)
    report = guide.init_report
    assert report.chosen == "multi_start"
    assert report.elbo["laplace"] == pytest.approx(math.log(0.05), abs=0.1)
    assert report.elbo["multi_start"] == pytest.approx(math.log(0.95), abs=0.1)


# far draws


@pytest.mark.compiles
def test_far_draws_of_positive_variables_are_finite(journey):
    """The last layer is the identity near the start, a bijection, and tames what is far."""
    host, limited = journey.host, importlib.import_module(f"{journey.name}_deepgen.infer.limited")
    layer = limited.Limited(host.array([1.0, 0.0]), (True, False))
    x = host.array([[20.0, -900.0], [-500.0, 3.0], [1e30, 0.0]])
    y, log_det = layer.forward_and_log_det(x)
    expected = [[20.0, -900.0], [1.0 - 30.0 - math.log1p(471.0), 3.0]]
    np.testing.assert_allclose(host.numpy(y)[:2], expected)
    assert host.numpy(y)[2, 0] < 101.0
    np.testing.assert_allclose(host.numpy(log_det)[:2], [0.0, -math.log1p(471.0)])
    back, inverse_log_det = layer.inverse_and_log_det(y[:2])
    np.testing.assert_allclose(host.numpy(back), host.numpy(x)[:2], rtol=1e-9)
    np.testing.assert_allclose(host.numpy(inverse_log_det), -host.numpy(log_det)[:2], atol=1e-12)

    def model():
        host.sample("a", host.dist.Normal(host.array(0.0), 1.0))
        host.sample("b", host.dist.Gamma(host.array(2.0), 1.0))

    guide = host.AutoFlow(model, init="init_loc", args=())
    assert limited.constrained_coordinates(guide._space) == (False, True)
