"""Bounds on both hosts against quadrature, enumeration, closed forms and the hosts' own ELBO."""

import math

import numpy as np
import pytest
from backends import BACKENDS
from bounds import ADAPTERS, derivative, normal, over_bits, over_normals, renyi, softmax, within

NUM_COPIES = 20_000
X, START = 1.2, {"loc": 0.3, "log_scale": -0.4, "slope": 0.8}


@pytest.fixture(params=list(BACKENDS))
def bounds(request):
    """Either host, in double precision."""
    adapter = ADAPTERS[request.param]()
    with adapter.backend.precision(64):
        yield adapter


def copies(value: float) -> np.ndarray:
    return np.full(NUM_COPIES, value)


class Pair:
    """A normal latent variable of each datum, of known evidence, with parameters of each datum."""

    def __init__(self, h):
        self.h = h

    def model(self, x):
        h = self.h
        slope = h.param("slope", h.array(np.full(len(x), START["slope"])))
        with h.plate("data", len(x)):
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(slope * z, 1.0), obs=x)

    def guide(self, x):
        h = self.h
        loc = h.param("loc", h.array(np.full(len(x), START["loc"])))
        scale = h.exp(h.param("log_scale", h.array(np.full(len(x), START["log_scale"]))))
        with h.plate("data", len(x)):
            h.sample("z", h.dist.Normal(loc, scale))

    def grads(self, elbo, seed=0):
        """The loss of a datum, and gradients of many independent copies of it."""
        start = {name: copies(value) for name, value in START.items()}
        x = self.h.array(copies(X))
        loss, found = self.h.grads(elbo, start, self.model, self.guide, x, seed=seed)
        return loss / NUM_COPIES, {name: -value for name, value in found.items()}


def log_weight(noise, at):
    scale = np.exp(at["log_scale"])
    z = at["loc"] + scale * noise
    joint = normal(z, 0.0, 1.0) + normal(X, at["slope"] * z, 1.0)
    return joint - normal(z, at["loc"], scale)


def expected_bound(at, alpha, num_particles):
    return over_normals(lambda noise: renyi(log_weight(noise, at), alpha), num_particles)


def log_evidence_of(x, slope=START["slope"]):
    return normal(x, 0.0, math.sqrt(1.0 + slope**2))


CASES = [
    (0.0, 2, "plain"),
    (0.0, 2, "dreg"),
    (-1.0, 2, "dreg"),
    (0.95, 2, "plain"),
    (1.0, 2, "stl"),
]
MORE_CASES = [
    (0.0, 3, "dreg"),
    (0.5, 2, "plain"),
    (0.5, 2, "dreg"),
    (-1.0, 2, "plain"),
    (2.0, 2, "plain"),
    (1.0, 2, "plain"),
    (1.0, 2, "dreg"),
    (0.0, 1, "stl"),
]


def with_slow(cases, more):
    return [*cases, *(pytest.param(*case, marks=pytest.mark.slow) for case in more)]


@pytest.mark.parametrize("alpha, num_particles, gradient", with_slow(CASES, MORE_CASES))
def test_value_and_gradients_are_those_of_quadrature(bounds, alpha, num_particles, gradient):
    elbo = bounds.infer.RenyiELBO(alpha, num_particles, gradient=gradient)
    loss, found = Pair(bounds).grads(elbo)
    nodes = 48 if num_particles < 3 else 24

    def expected(at):
        return over_normals(lambda e: renyi(log_weight(e, at), alpha), num_particles, nodes)

    noise = np.random.default_rng(0).standard_normal((num_particles, NUM_COPIES))
    spread = renyi(log_weight(noise, START), alpha).std()
    assert abs(-loss - expected(START)) < 5.0 * spread / math.sqrt(NUM_COPIES)
    for name, values in found.items():
        within(values, derivative(expected, START, name))


@pytest.mark.slow
def test_doubly_reparameterised_gradients_vary_less(bounds):
    variances = {}
    for gradient in ("plain", "dreg"):
        elbo = bounds.infer.IWELBO(16, gradient=gradient)
        variances[gradient] = Pair(bounds).grads(elbo)[1]["loc"].var()
    assert variances["dreg"] < 0.5 * variances["plain"]


def test_sticking_the_landing_has_no_variance_at_the_posterior(bounds):
    h, pair = bounds, Pair(bounds)
    variance = 1.0 / (1.0 + START["slope"] ** 2)
    start = {
        "loc": [variance * START["slope"] * X],
        "log_scale": [0.5 * math.log(variance)],
        "slope": [START["slope"]],
    }
    x = h.array([X])
    loss, found = h.grads(h.infer.STLELBO(3), start, pair.model, pair.guide, x)
    assert abs(-loss - log_evidence_of(X)) < 1e-9
    assert abs(found["loc"]) < 1e-9 and abs(found["log_scale"]) < 1e-9


@pytest.mark.compiles
def test_bounds_are_ordered(bounds):
    pair, infer = Pair(bounds), bounds.infer
    values = [-pair.grads(infer.IWELBO(k))[0] for k in (1, 2, 5, 20)]
    gap = 5.0 * 1.0 / math.sqrt(NUM_COPIES)
    assert all(a < b + gap for a, b in zip(values, values[1:], strict=False))
    assert values[0] < values[-1] and values[-1] < log_evidence_of(X) + gap
    by_order = [-pair.grads(infer.RenyiELBO(a, 5))[0] for a in (-math.inf, -1, 0, 1, 2, math.inf)]
    assert by_order == sorted(by_order, reverse=True)


@pytest.mark.parametrize("alpha", with_slow([1.0 - 1e-7], [(1.0 + 1e-7,)]))
def test_order_one_is_a_limit(bounds, alpha):
    pair, infer = Pair(bounds), bounds.infer
    one, other = pair.grads(infer.RenyiELBO(alpha, 3)), pair.grads(infer.RenyiELBO(1.0, 3))
    assert abs(one[0] - other[0]) < 1e-5
    np.testing.assert_allclose(one[1]["loc"], other[1]["loc"], atol=1e-4)


@pytest.mark.slow
def test_large_orders_are_least_and_largest_weights(bounds):
    pair, infer = Pair(bounds), bounds.infer
    for sign in (1.0, -1.0):
        limit = pair.grads(infer.RenyiELBO(sign * math.inf, 3))[0]
        assert abs(pair.grads(infer.RenyiELBO(sign * 1e5, 3))[0] - limit) < 1e-3


def subsampled(h, size=100, rows=4):
    """A pair on a minibatch of equal data, and one on the minibatch as a tensor."""

    def pair(plate):
        def model():
            with plate():
                z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
                h.sample("x", h.dist.Normal(z, 1.0), obs=h.array(np.full(rows, X)))

        def guide():
            loc = h.param("loc", h.array(0.3))
            with plate():
                h.sample("z", h.dist.Normal(loc, 0.7))

        return model, guide

    return pair(lambda: h.part(size, rows)), pair(lambda: h.plate("data", rows))


@pytest.mark.parametrize(
    "make",
    with_slow(
        [
            lambda infer: infer.IWELBO(5, chunk=2),
            lambda infer: infer.ReweightedWakeSleep(5),
            lambda infer: infer.BetaELBO(2.0, 5, free_bits=0.01),
        ],
        [
            (lambda infer: infer.IWELBO(5),),
            (lambda infer: infer.IWELBO(5, gradient="dreg"),),
            (lambda infer: infer.RenyiELBO(-0.5, 5),),
            (lambda infer: infer.BlackBoxAlphaELBO(0.5, 5),),
        ],
    ),
)
def test_a_subsampled_plate_scales_the_minibatch(bounds, make):
    (model, guide), (small_model, small_guide) = subsampled(bounds)
    elbo = make(bounds.infer)
    big, big_grads = bounds.grads(elbo, {"loc": 0.3}, model, guide)
    small, small_grads = bounds.grads(elbo, {"loc": 0.3}, small_model, small_guide)
    assert big == pytest.approx(25.0 * small, rel=1e-10)
    assert big_grads["loc"] == pytest.approx(25.0 * small_grads["loc"], rel=1e-9)


def test_a_scale_around_everything_stays_outside(bounds):
    _, (model, guide) = subsampled(bounds)
    elbo, scale = bounds.infer.IWELBO(5), bounds.handlers.scale
    whole, _ = bounds.grads(elbo, {"loc": 0.3}, model, guide)
    part, _ = bounds.grads(elbo, {"loc": 0.3}, scale(model, scale=0.01), scale(guide, scale=0.01))
    assert part == pytest.approx(0.01 * whole, rel=1e-9)
    with pytest.raises(ValueError, match="must have one scale"):
        bounds.grads(elbo, {"loc": 0.3}, scale(model, scale=0.01), guide)


def random_minibatch(h, x, rows):
    def model():
        with h.plate("data", len(x), subsample_size=rows) as index:
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(z, 0.1), obs=x[index])

    def guide():
        with h.plate("data", len(x), subsample_size=rows) as index:
            h.sample("z", h.dist.Normal(x[index] / 1.01, (0.01 / 1.01) ** 0.5))

    return model, guide


@pytest.mark.parametrize("chunk", with_slow([None, 2], [(1,)]))
def test_particles_share_their_minibatch(bounds, chunk):
    """With the posterior as the guide every weight of a datum is its evidence."""
    x = np.linspace(-5.0, 5.0, 12)
    model, guide = random_minibatch(bounds, bounds.array(x), 3)
    evidence = normal(x, 0.0, math.sqrt(1.01))
    found = -bounds.loss(bounds.infer.IWELBO(6, chunk=chunk), model, guide) / 4.0
    sums = evidence[:, None, None] + evidence[:, None] + evidence
    assert np.abs(sums - found).min() < 1e-8


def two_layers(h, x):
    """A guide whose second draw depends on its first."""

    def model():
        slope = h.param("slope", h.array(np.full(len(x), 0.9)))
        with h.plate("data", len(x)):
            z2 = h.sample("z2", h.dist.Normal(h.array(0.0), 1.0))
            z1 = h.sample("z1", h.dist.Normal(slope * z2, 0.8))
            h.sample("x", h.dist.Normal(z1, 0.7), obs=x)

    def guide():
        a, b = (h.param(name, h.array(np.full(len(x), 0.4))) for name in "ab")
        with h.plate("data", len(x)):
            z1 = h.sample("z1", h.dist.Normal(a * x, 0.8))
            h.sample("z2", h.dist.Normal(b * z1, 0.9))

    start = {"a": np.full(len(x), 0.4), "b": np.full(len(x), 0.4), "slope": np.full(len(x), 0.9)}
    return model, guide, start


@pytest.mark.parametrize(
    "alpha, gradient", with_slow([(0.0, "dreg"), (1.0, "stl")], [(-0.5, "dreg")])
)
def test_draws_that_depend_on_draws(bounds, alpha, gradient):
    model, guide, start = two_layers(bounds, bounds.array(copies(X)))
    infer = bounds.infer
    _, plain = bounds.grads(infer.RenyiELBO(alpha, 4), start, model, guide, seed=1)
    elbo = infer.RenyiELBO(alpha, 4, gradient=gradient)
    _, found = bounds.grads(elbo, start, model, guide, seed=2)
    for name in start:
        within(found[name] - plain[name], 0.0)


ELBOS = {
    "plain": lambda infer, **options: infer.IWELBO(5, **options),
    "dreg": lambda infer, **options: infer.IWELBO(5, gradient="dreg", **options),
    "stl": lambda infer, **options: infer.RenyiELBO(0.5, 5, gradient="stl", **options),
    "one": lambda infer, **options: infer.STLELBO(5, **options),
    "beta": lambda infer, **options: infer.BetaELBO(0.5, 5, free_bits=0.3, **options),
    "wake": lambda infer, **options: infer.ReweightedWakeSleep(5, **options),
}


@pytest.mark.parametrize(
    "which, chunk",
    with_slow(
        [("plain", 2), ("dreg", 2)],
        [(which, chunk) for which in ELBOS for chunk in (1, 2, 5)],
    ),
)
def test_chunks_change_neither_value_nor_gradient(bounds, which, chunk):
    # torch draws fewer than 16 numbers one after the other, chunk by chunk or not
    pair, x = Pair(bounds), bounds.array([0.4, -1.3])
    start = {name: [value] * 2 for name, value in START.items()}
    whole = bounds.grads(ELBOS[which](bounds.infer), start, pair.model, pair.guide, x)
    elbo = ELBOS[which](bounds.infer, chunk=chunk)
    found = bounds.grads(elbo, start, pair.model, pair.guide, x)
    assert found[0] == pytest.approx(whole[0], rel=1e-12)
    for name in start:
        np.testing.assert_allclose(found[1][name], whole[1][name], rtol=1e-10)


# discrete latent variables

LOGIT, PRIOR, LEVEL = 0.4, 0.3, 1.5


def bit_pair(h):
    def model(x):
        level = h.param("level", h.array(np.full(len(x), LEVEL)))
        with h.plate("data", len(x)):
            z = h.sample("z", h.dist.Bernoulli(probs=h.array(PRIOR)))
            h.sample("x", h.dist.Normal(level * z, 1.0), obs=x)

    def guide(x):
        logits = h.param("logits", h.array(np.full(len(x), LOGIT)))
        with h.plate("data", len(x)):
            h.sample("z", h.dist.Bernoulli(logits=logits))

    return model, guide


def bit_log_weight(bits, at):
    probability = 1.0 / (1.0 + math.exp(-at["logits"]))
    prior = np.where(bits == 1.0, PRIOR, 1.0 - PRIOR)
    posterior = np.where(bits == 1.0, probability, 1.0 - probability)
    return np.log(prior) + normal(X, at["level"] * bits, 1.0) - np.log(posterior)


def bit_grads(h, elbo, seed=0):
    model, guide = bit_pair(h)
    start = {"logits": copies(LOGIT), "level": copies(LEVEL)}
    loss, found = h.grads(elbo, start, model, guide, h.array(copies(X)), seed=seed)
    return loss / NUM_COPIES, {name: -value for name, value in found.items()}


@pytest.mark.parametrize(
    "alpha, num_particles", with_slow([(0.0, 4), (0.5, 3)], [(0.0, 2), (1.0, 3)])
)
def test_discrete_guides_have_the_enumerated_gradient(bounds, alpha, num_particles):
    def expected(at):
        probability = 1.0 / (1.0 + math.exp(-at["logits"]))
        return over_bits(lambda b: renyi(bit_log_weight(b, at), alpha), probability, num_particles)

    loss, found = bit_grads(bounds, bounds.infer.RenyiELBO(alpha, num_particles, None, "vimco"))
    at = {"logits": LOGIT, "level": LEVEL}
    assert abs(-loss - expected(at)) < 0.02
    for name, values in found.items():
        within(values, derivative(expected, at, name))


def test_wake_phase_has_the_enumerated_gradient(bounds):
    probability = 1.0 / (1.0 + math.exp(-LOGIT))
    at = {"logits": LOGIT, "level": LEVEL}

    def wake(bits):
        weights = softmax(bit_log_weight(bits, at), 0)
        return (weights * (bits - probability)).sum(0)

    def model_gradient(bits):
        weights = softmax(bit_log_weight(bits, at), 0)
        return (weights * (X - LEVEL * bits) * bits).sum(0)

    loss, found = bit_grads(bounds, bounds.infer.ReweightedWakeSleep(3))
    within(found["logits"], over_bits(wake, probability, 3))
    within(found["level"], over_bits(model_gradient, probability, 3))
    value = over_bits(lambda bits: renyi(bit_log_weight(bits, at), 0.0), probability, 3)
    assert abs(-loss - value) < 0.02


def test_sleep_phase_learns_from_dreams(bounds):
    """E[d/da log N(z; a x, s)] = (E[zx] - a E[x^2]) / s^2 under the model."""
    h = bounds
    a, s = 0.2, 0.6

    def model(x):
        with h.plate("data", len(x)):
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(z, 1.0), obs=x)

    def guide(x):
        slopes = h.param("a", h.array(copies(a)))
        with h.plate("data", len(x)):
            h.sample("z", h.dist.Normal(slopes * x, s))

    elbo = h.infer.ReweightedWakeSleep(1, insomnia=0.0, simulated={"x": 0})
    _, found = h.grads(elbo, {"a": copies(a)}, model, guide, h.array(copies(X)))
    within(-found["a"], (1.0 - 2.0 * a) / s**2)


def test_a_guide_without_derivatives_is_refused(bounds):
    model, guide = bit_pair(bounds)
    start, x = {"logits": [LOGIT], "level": [LEVEL]}, bounds.array([X])
    for elbo in (bounds.infer.IWELBO(2), bounds.infer.STLELBO(), bounds.infer.BetaELBO()):
        with pytest.raises(ValueError, match="reparameterised.*'z'.*vimco"):
            bounds.grads(elbo, start, model, guide, x)


# which weights there are


def shared_latent(h, x, rows=None):
    """A global and a local latent variable; the posterior of all is in the guide's joint site."""
    size = len(x)

    def plate():
        return h.plate("data", size) if rows is None else h.part(size, rows)

    def model():
        w = h.sample("w", h.dist.Normal(h.array(0.0), 1.0))
        with plate():
            z = h.sample("z", h.dist.Normal(w, 1.0))
            h.sample("x", h.dist.Normal(z, 1.0), obs=h.array(x if rows is None else x[:rows]))

    covariance = np.block(
        [[np.ones((1, 1)), np.ones((1, size))], [np.ones((size, 1)), np.eye(size)]]
    )
    covariance[1:, 1:] += 1.0
    gain = covariance[:, 1:] @ np.linalg.inv(covariance[1:, 1:] + np.eye(size))
    loc, tril = gain @ x, np.linalg.cholesky(covariance - gain @ covariance[1:])

    def guide():
        posterior = h.dist.MultivariateNormal(h.array(loc), scale_tril=h.array(tril))
        all_sites = h.sample("all", posterior, infer={"is_auxiliary": True})
        h.sample("w", h.dist.Delta(all_sites[..., 0]))
        with h.plate("data", size):
            h.sample("z", h.dist.Delta(all_sites[..., 1:]))

    marginal = covariance[1:, 1:] + np.eye(size)
    _, log_det = np.linalg.slogdet(marginal)
    evidence = -0.5 * (x @ np.linalg.solve(marginal, x) + log_det + size * math.log(2 * math.pi))
    return model, guide, evidence


def test_a_joint_latent_site_is_counted_once(bounds):
    model, guide, evidence = shared_latent(bounds, np.array([0.5, -1.0, 2.0]))
    infer = bounds.infer
    for elbo in (
        infer.IWELBO(1),
        infer.IWELBO(5, joint=True),
        infer.RenyiELBO(0.5, 5, None, "dreg", True),
    ):
        assert -bounds.loss(elbo, model, guide) == pytest.approx(evidence, abs=1e-8)
    with pytest.raises(ValueError, match="'(w|all)' outside it; pass joint=True"):
        bounds.loss(infer.IWELBO(5), model, guide)


def test_one_weight_for_all_data_needs_all_data(bounds):
    x = np.array([0.5, -1.0, 2.0])
    model, _, _ = shared_latent(bounds, x, rows=2)

    def guide():
        bounds.sample("w", bounds.dist.Normal(bounds.array(0.0), 1.0))
        with bounds.part(3, 2):
            bounds.sample("z", bounds.dist.Normal(bounds.array(0.0), 1.0))

    with pytest.raises(ValueError, match="'data' with 2 of 3 inside one weight"):
        bounds.loss(bounds.infer.IWELBO(5, joint=True), model, guide)
    expected = bounds.loss(bounds.hosts_elbo(), model, guide)
    assert bounds.loss(bounds.infer.IWELBO(1), model, guide) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "name",
    with_slow(
        ["AutoMultivariateNormal"], [("AutoDiagonalNormal",), ("AutoNormal",), ("AutoFlow",)]
    ),
)
@pytest.mark.compiles
def test_one_particle_of_an_automatic_guide_is_the_elbo(bounds, name):
    model, _, _ = shared_latent(bounds, np.array([0.5, -1.0, 2.0]))
    autoguide = (bounds.pyro if hasattr(bounds, "pyro") else bounds.numpyro).infer.autoguide
    guide = getattr(bounds.infer if name == "AutoFlow" else autoguide, name)(model)
    if hasattr(bounds, "pyro"):
        guide()
        losses = [
            bounds.loss(e, model, guide) for e in (bounds.hosts_elbo(), bounds.infer.IWELBO(1))
        ]
    else:
        handlers, jax = bounds.handlers, bounds.jax
        trace = handlers.trace(handlers.seed(guide, 0)).get_trace()
        params = {n: s["value"] for n, s in trace.items() if s["type"] == "param"}
        losses = [
            float(elbo.loss(jax.random.key(0), params, model, guide))
            for elbo in (bounds.hosts_elbo(), bounds.infer.IWELBO(1))
        ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_missing_and_superfluous_sites_are_named(bounds):
    h = bounds
    _, (model, guide) = subsampled(h)

    def more():
        guide()
        h.sample("extra", h.dist.Normal(h.array(0.0), 1.0))

    with pytest.raises(ValueError, match=r"none for \['z'\]"):
        h.loss(h.infer.IWELBO(2), model, lambda: None)
    with pytest.raises(ValueError, match=r"got \['extra'\] besides"):
        h.loss(h.infer.IWELBO(2), model, more)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda i: i.IWELBO(0), "num_particles must be at least 1"),
        (lambda i: i.IWELBO(2, chunk=0), "chunk must be at least 1"),
        (lambda i: i.IWELBO(2, gradient="path"), "gradient must be one of"),
        (lambda i: i.IWELBO(1, gradient="vimco"), "must be at least 2"),
        (lambda i: i.RenyiELBO(math.nan), "alpha must be a number"),
        (lambda i: i.RenyiELBO(math.inf, 2, None, "dreg"), "needs a finite alpha"),
        (lambda i: i.BlackBoxAlphaELBO(math.inf), "alpha must be finite"),
        (lambda i: i.ReweightedWakeSleep(1), "num_particles must be at least 2"),
        (lambda i: i.ReweightedWakeSleep(2, insomnia=0.5), "simulated must say where"),
        (lambda i: i.ReweightedWakeSleep(2, insomnia=1.5), "between 0 and 1"),
        (lambda i: i.BetaELBO(-1.0), "beta must be"),
        (lambda i: i.BetaELBO(free_bits=-1.0), "free_bits must be"),
        (lambda i: i.KLWarmup(0), "num_steps must be at least 1"),
        (lambda i: i.KLCycle(10, rise=1.5), "rise must be at most 1"),
        (lambda i: i.WAEMMD(0.0), "weight must be positive"),
        (lambda i: i.WAEMMD(kernel_scales=()), "must not be empty"),
    ],
)
def test_bad_settings_are_refused(bounds, make, message):
    with pytest.raises(ValueError, match=message):
        make(bounds.infer)


# global latent variables, a power for each datum


def test_black_box_alpha_is_that_of_quadrature(bounds):
    h, alpha = bounds, 0.7
    data, at = np.array([0.3, 1.4]), {"loc": 0.5, "log_scale": -0.3}

    def model():
        w = h.sample("w", h.dist.Normal(h.array(0.0), 1.0))
        with h.part(10, 2):
            h.sample("x", h.dist.Normal(w, 1.0), obs=h.array(data))

    def guide():
        loc, scale = h.param("loc", h.array(0.5)), h.exp(h.param("log_scale", h.array(-0.3)))
        h.sample("w", h.dist.Normal(loc, scale))

    def expected(at):
        def bound(noise):
            w = at["loc"] + math.exp(at["log_scale"]) * noise
            prior = normal(w, 0.0, 1.0) - normal(w, at["loc"], math.exp(at["log_scale"]))
            powers = [renyi(normal(x, w, 1.0), 1.0 - alpha) for x in data]
            return prior.mean(0) + 5.0 * sum(powers)

        return over_normals(bound, 2)

    elbo = h.infer.BlackBoxAlphaELBO(alpha, 2)
    losses, found = h.many_grads(elbo, at, model, guide, 400)
    within(-losses, expected(at))
    for name in at:
        within(-found[name], derivative(expected, at, name))


def test_black_box_alpha_goes_to_the_elbo(bounds):
    (model, guide), _ = subsampled(bounds)
    infer = bounds.infer
    values = [
        bounds.grads(elbo, {"loc": 0.3}, model, guide)[0]
        for elbo in (
            infer.BlackBoxAlphaELBO(0.0, 4),
            infer.BlackBoxAlphaELBO(1e-7, 4),
            infer.BetaELBO(1.0, 4),
        )
    ]
    np.testing.assert_allclose(values, values[2], rtol=1e-5)


# weighted divergence


def fixed_pair(h):
    """A pair on ten of 50 data with two latent sites, of which the second has no divergence."""

    def model():
        with h.part(50, 10):
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("y", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(z, 1.0), obs=h.array(np.full(10, X)))

    def guide():
        loc = h.param("loc", h.array(1.0))
        shift = h.param("shift", h.array(0.0))
        with h.part(50, 10):
            h.sample("z", h.dist.Normal(loc, 1.0))
            h.sample("y", h.dist.Normal(shift, 1.0))

    return model, guide


def test_the_weight_of_the_divergence_is_linear(bounds):
    h, (model, guide), start = bounds, fixed_pair(bounds), {"loc": 1.0, "shift": 0.0}
    losses = [h.grads(h.infer.BetaELBO(b), start, model, guide)[0] for b in (0.0, 1.0, 4.0)]
    assert losses[2] - losses[0] == pytest.approx(4.0 * (losses[1] - losses[0]), rel=1e-9)
    assert losses[1] == pytest.approx(h.grads(h.hosts_elbo(), start, model, guide)[0], rel=1e-9)
    elbo = h.infer.BetaELBO(h.infer.KLWarmup(10))
    given = h.grads(elbo, start, model, guide, kl_weight=4.0)[0]
    assert given == pytest.approx(losses[2], rel=1e-12)
    with pytest.raises(ValueError, match="kl_weight must be given"):
        h.grads(elbo, start, model, guide)
    # evaluations are at weight 1
    evaluated = [h.loss(e, model, guide) for e in (elbo, h.infer.BetaELBO(4.0, free_bits=9.0))]
    assert evaluated[0] == evaluated[1] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.compiles
def test_free_bits_compare_with_the_mean_of_the_batch(bounds):
    h, (model, guide), start = bounds, fixed_pair(bounds), {"loc": 1.0, "shift": 0.0}

    def grads(free_bits, groups=None):
        elbo = h.infer.BetaELBO(1.0, 2000, free_bits=free_bits, groups=groups)
        return h.grads(elbo, start, model, guide)

    plain, none = grads(0.0), grads({"y": 0.2})
    # the divergence of z is 1/2 for each of 50 data, that of y is nothing
    assert none[0] - plain[0] == pytest.approx(50 * 0.2, rel=0.05)
    assert none[1]["shift"] == 0.0 and none[1]["loc"] == pytest.approx(plain[1]["loc"])
    assert grads(0.4)[1]["loc"] == pytest.approx(plain[1]["loc"])
    over = grads(0.6)[1]["loc"]
    assert over == pytest.approx(plain[1]["loc"] - 50.0, rel=0.05, abs=2.0)
    # together their divergence is beyond what is free
    together = grads(0.4, {"both": ["z", "y"]})
    assert together[0] == pytest.approx(plain[0], rel=1e-9)
    with pytest.raises(ValueError, match="every latent site of the model once"):
        grads(0.4, {"both": ["z"]})
    with pytest.raises(ValueError, match=r"got \['u'\]"):
        grads({"u": 0.1})


@pytest.mark.compiles
def test_fit_follows_a_schedule_and_lasts_longer(bounds):
    h, (model, guide) = bounds, fixed_pair(bounds)
    elbo = h.infer.BetaELBO(h.infer.KLWarmup(10), num_particles=2000)
    options = {"learning_rate": 1e-9, "decay": "constant", "evaluate_every": 4}
    result = h.fit(model, guide, 20, loss=elbo, **options)
    steps = np.minimum(np.arange(20) / 10.0, 1.0)
    np.testing.assert_allclose(result.losses - result.losses[0], 25.0 * steps, atol=4.0)
    assert result.best_step >= 10
    with pytest.raises(ValueError, match="num_steps must be at least 10"):
        h.fit(model, guide, 9, loss=elbo, **options)


def test_fit_evaluates_at_weight_one(bounds):
    h, (model, guide) = bounds, fixed_pair(bounds)
    elbo = h.infer.BetaELBO(3.0, num_particles=2000, free_bits=2.0)
    result = h.fit(model, guide, 4, loss=elbo, learning_rate=1e-9, held_out_args=())
    # the divergence is 25 in all
    expected = 25.0 - 50.0 * (normal(X, 1.0, 1.0) - 0.5)
    assert result.evaluations[-1][1] == pytest.approx(expected, abs=4.0)


# the aggregated posterior


def test_the_discrepancy_is_that_of_quadrature(bounds):
    h, weight, shift, scales = bounds, 3.0, 1.3, (0.5, 2.0)

    def model():
        with h.plate("data", 40):
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(0.0 * z, 1.0), obs=h.array(np.zeros(40)))

    def guide():
        loc = h.param("loc", h.array(shift))
        with h.plate("data", 40):
            h.sample("z", h.dist.Normal(loc, 1.0))

    def kernel_mean(distance):
        def kernel(noise):
            gap = (distance + math.sqrt(2.0) * noise[0]) ** 2
            return sum(2.0 * s / (2.0 * s + gap) for s in scales)

        return over_normals(kernel, 1, 90)

    elbo = h.infer.WAEMMD(weight, 1.0, scales)
    losses, found = h.many_grads(elbo, {"loc": shift}, model, guide, 200)
    rest = -40.0 * normal(0.0, 0.0, 1.0)

    def expected(at):
        return 40.0 * weight * 2.0 * (kernel_mean(0.0) - kernel_mean(at["loc"]))

    within(losses - rest, expected({"loc": shift}))
    within(found["loc"], derivative(expected, {"loc": shift}, "loc"))


# the hosts


@pytest.mark.parametrize("which", with_slow(["dreg", "wake"], [("plain",), ("one",), ("beta",)]))
def test_training_finds_the_posterior(bounds, which):
    h = bounds
    x = h.array(np.linspace(-2.0, 2.0, 8))

    def model(x):
        with h.plate("data", 8):
            z = h.sample("z", h.dist.Normal(h.array(0.0), 1.0))
            h.sample("x", h.dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a, log_scale = h.param("a", h.array(0.1)), h.param("b", h.array(0.0))
        with h.plate("data", 8):
            h.sample("z", h.dist.Normal(a * x, h.exp(log_scale)))

    elbo = ELBOS[which](h.infer) if which != "beta" else h.infer.BetaELBO(1.0, 5)
    params = h.train(elbo, model, guide, 400, x)
    assert abs(params["a"] - 0.5) < 0.08 and abs(params["b"] - 0.5 * math.log(0.5)) < 0.12


def test_fit_trains_a_bound_in_chunks(bounds):
    h, (model, guide) = bounds, subsampled(bounds)[1]
    elbo = h.infer.IWELBO(6, chunk=2, gradient="dreg")
    result = h.fit(model, guide, 200, loss=elbo, learning_rate=0.05)
    assert abs(float(result.params["loc"]) - X / 2.0) < 0.1


@pytest.fixture
def pyro_bounds():
    adapter = ADAPTERS["pyro"]()
    with adapter.backend.precision(64):
        yield adapter


@pytest.fixture
def numpyro_bounds():
    adapter = ADAPTERS["numpyro"]()
    with adapter.backend.precision(64):
        yield adapter


@pytest.mark.parametrize("which", ELBOS)
def test_a_messenger_over_the_model_is_the_plain_guide(pyro_bounds, which):
    h = pyro_bounds
    from pyro.poutine.guide import GuideMessenger

    x = h.array([-1.0, 0.3, 2.0])

    def model():
        with h.plate("data", 3):
            z2 = h.sample("z2", h.dist.Normal(h.array(0.0), 1.0))
            z1 = h.sample("z1", h.dist.Normal(z2, 0.8))
            h.sample("x", h.dist.Normal(z1, 1.0), obs=x)

    class Posterior(GuideMessenger):
        def get_posterior(self, name, prior):
            a, b = h.param("a", h.array(0.3)), h.param("b", h.array(0.6))
            return h.dist.Normal(a * (x if name == "z2" else prior.loc), b)

    def guide():
        a, b = h.param("a", h.array(0.3)), h.param("b", h.array(0.6))
        with h.plate("data", 3):
            z2 = h.sample("z2", h.dist.Normal(a * x, b))
            h.sample("z1", h.dist.Normal(a * z2, b))

    start = {"a": 0.3, "b": 0.6}
    elbo = ELBOS[which](h.infer)
    one = h.grads(elbo, start, model, Posterior(model))
    other = h.grads(ELBOS[which](h.infer), start, model, guide)
    assert elbo._tested[2] == 1  # particles in a plate
    assert one[0] == pytest.approx(other[0], rel=1e-12)
    for name in start:
        assert one[1][name] == pytest.approx(other[1][name], rel=1e-10)


@pytest.mark.parametrize("gradient", ["plain", "dreg"])
def test_networks_train_whatever_their_particles_do(pyro_bounds, gradient):
    """A network that cannot take a plate of particles is run on one at a time."""
    # torch draws fewer than 16 numbers one after the other, together or not
    h, torch = pyro_bounds, pyro_bounds.torch
    x = h.array(np.random.default_rng(0).normal(size=(2, 4)))

    class Rigid(torch.nn.Linear):
        def forward(self, z):
            return super().forward(z.reshape(2, 2))

    torch.manual_seed(0)
    encoder = torch.nn.Linear(4, 2)
    soft, rigid = torch.nn.Linear(2, 4), Rigid(2, 4)
    rigid.load_state_dict(soft.state_dict())

    def pair(decoder):
        def model():
            h.pyro.module("decoder", decoder)
            with h.plate("data", 2):
                z = h.sample("z", h.dist.Normal(h.array(np.zeros(2)), 1.0).to_event(1))
                h.sample("x", h.dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

        def guide():
            h.pyro.module("encoder", encoder)
            with h.plate("data", 2):
                h.sample("z", h.dist.Normal(encoder(x), 0.5).to_event(1))

        return model, guide

    gradients = []
    for decoder, together in ((soft, True), (rigid, False)):
        elbo = h.infer.IWELBO(3, gradient=gradient)
        h.pyro.clear_param_store()
        encoder.zero_grad()
        h.pyro.set_rng_seed(0)
        elbo.loss_and_grads(*pair(decoder))
        assert (elbo._tested[2] is not None) == together
        assert all(p.requires_grad for p in encoder.parameters())
        gradients.append([p.grad.numpy().copy() for p in (encoder.weight, decoder.weight)])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_mutable_state_goes_on_with_many_particles(numpyro_bounds):
    h = numpyro_bounds
    numpyro, jnp, jax = h.numpyro, h.jnp, h.jax
    (model, inner), _ = subsampled(h)

    def guide():
        state = numpyro.primitives.mutable("count", {"steps": jnp.array(0)})
        state["steps"] = state["steps"] + 1
        inner()

    for elbo in (h.infer.IWELBO(3), h.infer.IWELBO(4, chunk=2, gradient="dreg")):
        svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(0.01), elbo)
        state, update = svi.init(jax.random.key(0)), jax.jit(svi.update)
        for _ in range(3):
            state, loss = update(state)
        # the host runs the guide once before the first step
        assert int(state.mutable_state["count"]["steps"]) == 4 and jnp.isfinite(loss)


@pytest.mark.parametrize("gradient", ["plain", "dreg"])
def test_two_plates_around_everything_are_one_of_all_entries(bounds, gradient):
    h, data = bounds, np.linspace(-1.0, 2.0, 6)

    def pair(rows, columns):
        def around():
            return h.plate("rows", rows, dim=-2)

        def model():
            with around(), h.plate("columns", columns, dim=-1):
                z = h.sample("z", h.dist.Normal(h.array(np.zeros(2)), 1.0).to_event(1))
                obs = h.array(data.reshape(rows, columns))
                h.sample("x", h.dist.Normal(z.sum(-1), 1.0), obs=obs)

        def guide():
            loc = h.param("loc", h.array(0.3))
            with around(), h.plate("columns", columns, dim=-1):
                h.sample("z", h.dist.Normal(loc + h.array(np.zeros(2)), 0.7).to_event(1))

        return h.grads(h.infer.IWELBO(2, gradient=gradient), {"loc": 0.3}, model, guide)

    one, other = pair(2, 3), pair(1, 6)
    assert one[0] == pytest.approx(other[0], rel=1e-10)
    assert one[1]["loc"] == pytest.approx(other[1]["loc"], rel=1e-10)
