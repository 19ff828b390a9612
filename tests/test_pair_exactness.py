"""Auto-encoders against what is known: quadrature, mixtures by hand, finite differences."""

import numpy as np
import pytest
from registry_models import digits
from scipy import stats
from test_pairs import call

# the NumPyro cases are slow
pytestmark = pytest.mark.compiles


def make(backend, name, *args, **options):
    return backend.make(getattr(backend.load("models"), name), *args, **options)


def evidence(backend, pair, num_samples, *args, **kwargs):
    """The result of the host's ``log_evidence``."""
    log_evidence = backend.load("infer").log_evidence
    if backend.name == "numpyro":
        return log_evidence(
            backend.key(), pair.model, pair.guide, {}, num_samples, args=args, **kwargs
        )
    backend.pyro.set_rng_seed(0)
    return log_evidence(pair.model, pair.guide, num_samples, args=args, **kwargs)


def loss(backend, bound, pair, *args, **kwargs) -> float:
    """The bound's loss by the same noise each time."""
    if backend.name == "numpyro":
        return float(bound.loss(backend.key(), {}, pair.model, pair.guide, *args, **kwargs))
    backend.pyro.set_rng_seed(0)
    return bound.loss(pair.model, pair.guide, *args, **kwargs)


def bits(backend, num_rows, num_columns):
    return backend.array(digits("bits", num_rows).reshape(num_rows, -1)[:, :num_columns])


@pytest.fixture
def restored(torch_backend):
    """Pyro's random state is left as it was."""
    with torch_backend.torch.random.fork_rng():
        yield


@pytest.mark.usefixtures("restored")
def test_evidence_is_that_of_quadrature(backend):
    pair = backend.perturbed(make(backend, "vae", (30,), 1, (8,)), 0.3)
    x = bits(backend, 5, 30)
    found = evidence(backend, pair, 2000, x)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = backend.array(nodes[:, None, None])
    log_prob = backend.numpy(pair.likelihood(z).log_prob(x))
    exact = np.log((weights[:, None] * np.exp(log_prob)).sum(0) / weights.sum())
    assert (abs(found.log_evidence - exact) < 5 * found.error + 1e-6).all()
    assert (found.elbo < exact).all()


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", ["vae", "stacked_vae"])
def test_a_minibatch_stands_for_all_data(backend, name):
    sizes = (2, (8,)) if name == "vae" else ((3, 2), ((8,), (6,)))
    pair, x = make(backend, name, (20,), *sizes), bits(backend, 4, 20)
    sites = {"z": 2} if name == "vae" else {"z1": 3, "z2": 2}
    rng = np.random.default_rng(0)
    values = {site: backend.array(rng.standard_normal((4, n))) for site, n in sites.items()}
    for program in (pair.model, pair.guide):
        part = joint(backend, lambda program=program: program(x), values)
        whole = joint(backend, lambda program=program: program(x, size=40), values)
        np.testing.assert_allclose(whole, 10 * part, rtol=1e-10)
    assert evidence(backend, pair, 2, x, kwargs={"size": 40}).scale == 10.0
    bound = backend.load("infer").IWELBO(4)
    part, whole = (loss(backend, bound, pair, x, **kw) for kw in ({}, {"size": 40}))
    if backend.name == "pyro":
        np.testing.assert_allclose(whole, 10 * part, rtol=1e-10)
    # where the plate takes a random key, the noise is another one
    assert 0.7 < whole / (10 * part) < 1.4


@pytest.mark.parametrize("name", ["vae", "stacked_vae"])
def test_the_host_draws_from_the_model_and_the_guide(backend, name):
    sizes = (2, (8,)) if name == "vae" else ((3, 2), ((8,), (6,)))
    pair, x = make(backend, name, (20,), *sizes), bits(backend, 4, 20)
    for program in (lambda: pair.model(size=4), lambda: pair.model(x)):
        draws = backend.predictive(program, 3)
        assert draws["x"].shape == (3, 4, 20)
    lowest = "z" if name == "vae" else "z1"
    draws = backend.predictive(lambda: pair.model(size=4), 3, guide=lambda: pair.guide(x))
    assert draws["x"].shape == (3, 4, 20) and set(np.unique(draws["x"])) <= {0.0, 1.0}
    assert draws.get(lowest, np.zeros((3, 4))).shape[:2] == (3, 4)


def test_the_joint_density_of_layers_is_the_product(backend):
    pair = backend.perturbed(make(backend, "stacked_vae", (20,), (3, 2), ((8,), (6,))), 0.3)
    rng, x = np.random.default_rng(0), bits(backend, 4, 20)
    z1, z2 = (backend.array(rng.standard_normal((4, n))) for n in (3, 2))
    found = joint(backend, lambda: pair.model(x), {"z1": z1, "z2": z2})
    loc_scale = backend.numpy(pair.decoders[1].network(z2)).reshape(4, 3, 2)
    loc, scale = loc_scale[..., 0], 1e-3 + np.exp(30 * np.tanh(loc_scale[..., 1] / 30))
    expected = stats.norm.logpdf(backend.numpy(z2)).sum()
    expected += stats.norm.logpdf(backend.numpy(z1), loc, scale).sum()
    expected += backend.numpy(pair.likelihood(z1).log_prob(x)).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    posterior = joint(backend, lambda: pair.guide(x), {"z1": z1, "z2": z2})
    above = pair.encoders[1](z1).log_prob(z2)
    below = pair.posterior(x).log_prob(z1)
    expected = backend.numpy(above).sum() + backend.numpy(below).sum()
    np.testing.assert_allclose(posterior, expected, rtol=1e-10)


def joint(backend, program, values: dict) -> float:
    if backend.name == "numpyro":
        return backend.log_joint(program, values)
    conditioned = backend.pyro.condition(program, data=values)
    return float(backend.pyro.poutine.trace(conditioned).get_trace().log_prob_sum().detach())


def test_vamp_prior_is_the_mixture_of_the_posteriors_of_its_inputs(backend):
    prior = backend.make(backend.D.VampPrior, 4, (20,), (-1.0, 2.0))
    pair = backend.perturbed(make(backend, "vae", (20,), 3, (8,), prior=prior), 0.3)
    z = backend.array(np.random.default_rng(0).standard_normal((5, 3)))
    raw = backend.named(pair)["latent_prior.raw_inputs"]
    inputs = backend.array(-1.0 + 3.0 / (1.0 + np.exp(-raw)))
    parts = [backend.numpy(pair.posterior(u).log_prob(z)) for u in inputs]
    expected = np.log(np.mean(np.exp(parts), 0))
    np.testing.assert_allclose(backend.numpy(pair.prior().log_prob(z)), expected, rtol=1e-10)

    def total(pair, z):
        return pair.prior().log_prob(z).sum()

    grads, _ = backend.grads(total, pair, z)
    for name in ("latent_prior.raw_inputs", "encoder.network.network.layers.0.weight"):
        assert abs(grads[name]).max() > 0


def test_vamp_prior_starts_from_data(backend):
    init = backend.array(np.random.default_rng(0).uniform(0.1, 0.9, (4, 2, 3)))
    prior = backend.make(backend.D.VampPrior, 4, (2, 3), init=init)
    np.testing.assert_allclose(backend.numpy(prior.inputs()), backend.numpy(init), rtol=1e-10)
    with pytest.raises(ValueError, match=r"init must have shape \(3, 2, 3\), got \(4, 2, 3\)"):
        backend.make(backend.D.VampPrior, 3, (2, 3), init=init)


def test_vamp_prior_of_a_context_is_that_of_each_context(backend):
    prior = backend.make(backend.D.VampPrior, 4, (20,))
    pair = make(backend, "vae", (20,), 3, (8,), prior=prior, context_dim=2)
    rng = np.random.default_rng(0)
    z, context = (backend.array(rng.standard_normal((5, n))) for n in (3, 2))
    found = backend.numpy(pair.prior(context).log_prob(z))
    each = [backend.numpy(pair.prior(context[i]).log_prob(z[i])) for i in range(5)]
    np.testing.assert_allclose(found, each, rtol=1e-10)


def test_a_context_reaches_every_network(backend):
    c = backend.load("distributions.conditionals")
    network = backend.make(backend.nn.Dense, 2, 6, (4,))
    prior = backend.D.ConditionalDistribution(network, c.NormalConditional(), (3,))
    pair = make(backend, "vae", (20,), 3, (8,), prior=prior, context_dim=2)
    rng, x = np.random.default_rng(0), bits(backend, 4, 20)
    z, context = (backend.array(rng.standard_normal((4, n))) for n in (3, 2))
    terms = [
        lambda pair, context: pair.prior(context).log_prob(z).sum(),
        lambda pair, context: pair.posterior(x, context).log_prob(z).sum(),
        lambda pair, context: pair.likelihood(z, context).log_prob(x).sum(),
    ]
    for term in terms:
        _, (gradient,) = backend.grads(term, pair, context)
        assert (abs(gradient).max(0) > 0).all()


def test_posteriors_keep_the_committed_rate(backend):
    pair = make(backend, "delta_vae", (20,), 2, 5, 3.0, (8,))
    prior = pair.latent_prior
    np.testing.assert_allclose(prior.committed_rate, 3.0, rtol=1e-8)
    a = prior.correlation
    lags = abs(np.subtract.outer(np.arange(5), np.arange(5)))
    precision = np.linalg.inv(a**lags)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 5))
    exact = sum(stats.multivariate_normal.logpdf(row, np.zeros(5), a**lags) for row in z)
    np.testing.assert_allclose(float(pair.prior().log_prob(backend.array(z))), exact, rtol=1e-9)

    def divergence(loc, scale):
        quadratic = (np.diag(precision) * scale**2 + loc @ precision * loc).sum()
        log_det = -np.linalg.slogdet(precision)[1] - 2 * np.log(scale).sum()
        return 0.5 * (quadratic - 5 + log_det)

    best = divergence(np.zeros(5), np.diag(precision) ** -0.5)
    np.testing.assert_allclose(2 * best, 3.0, rtol=1e-8)
    for _ in range(100):
        assert divergence(rng.standard_normal(5), rng.uniform(0.05, 1.0, 5)) > best


@pytest.mark.usefixtures("restored")
@pytest.mark.slow
def test_steps_on_each_datum_raise_its_bound(backend):
    pair = backend.perturbed(make(backend, "vae", (30,), 2, (8,)), 0.3)
    refined = backend.load("models").SemiAmortized(pair, 30, num_particles=8)
    x = bits(backend, 20, 30)
    before, after = (evidence(backend, p, 200, x) for p in (pair, refined))
    gain = after.elbo - before.elbo
    assert gain.mean() > 0.1 and gain.min() > -0.2
    assert after.ess.mean() > before.ess.mean()


def test_steps_of_second_order_are_differentiated(backend):
    """By finite differences of what comes after the steps, in an offset of the encoder."""
    models, x = backend.load("models"), bits(backend, 3, 20)
    plain = backend.perturbed(make(backend, "vae", (20,), 2, (5,)), 0.3)
    name = "encoder.network.network.layers.1.bias"

    def total(pair):
        if backend.name == "pyro":
            with backend.torch.random.fork_rng():
                backend.torch.manual_seed(1)
                return pair.posterior(x).mean.square().sum()
        return (pair.posterior(x).mean ** 2).sum()

    def moved(step: float):
        arrays = backend.named(plain)
        arrays[name] = arrays[name] + step * np.eye(len(arrays[name]))[0]
        pair = backend.fill(make(backend, "vae", (20,), 2, (5,)), arrays)
        return float(backend.numpy(total(models.SemiAmortized(pair, 3))))

    slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
    found = [
        backend.grads(total, models.SemiAmortized(plain, 3, second_order=second))[0]["pair." + name]
        for second in (False, True)
    ]
    np.testing.assert_allclose(found[1][0], slope, rtol=1e-6)
    assert abs(found[0][0] - slope) > 1e-4 * abs(slope)


def test_ways_begin_and_end_at_the_data_and_keep_their_radius(backend):
    pair, x = make(backend, "vae", (20,), 3, (8,)), bits(backend, 4, 20)
    for kind in ("linear", "spherical"):
        way = call(backend, pair.interpolate, x[:2], x[2:], 5, kind)
        for end, rows in ((0, x[:2]), (-1, x[2:])):
            np.testing.assert_allclose(way[end], call(backend, pair.reconstruct, rows), rtol=1e-6)
    paths = backend.load("models.paths")
    z = np.random.default_rng(0).standard_normal((2, 4, 3))
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    ends = [backend.array(end) for end in z]
    path = backend.numpy(paths.interpolated(*ends, 9, "spherical"))
    np.testing.assert_allclose(np.linalg.norm(path, axis=-1), 1.0, rtol=1e-10)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), rtol=1e-6)
    still = backend.numpy(paths.interpolated(ends[0], ends[0], 3, "spherical"))
    np.testing.assert_allclose(still, np.stack([z[0]] * 3), rtol=1e-10)


def test_a_manifold_is_that_of_quantiles(backend):
    pair = make(backend, "vae", (20,), 2, (8,))
    grid = stats.norm.ppf((np.arange(3) + 0.5) / 3)
    z = backend.array(np.stack(np.meshgrid(grid, grid, indexing="ij"), -1))
    expected = backend.numpy(pair.decode(z))
    np.testing.assert_allclose(backend.numpy(pair.manifold(3)), expected, rtol=1e-8)


def seeded(backend):
    """What lets a program run outside of inference."""
    if backend.name == "pyro":
        return lambda program: program
    return lambda program: backend.numpyro.handlers.seed(program, 0)


def test_errors_are_the_same_on_both_hosts(both):
    messages = []
    for backend in both:
        models, found = backend.load("models"), []
        pair = make(backend, "vae", (20,), 3, (8,))
        flow = backend.make(backend.D.planar, 2, 1)
        zeros, model = backend.array(np.zeros((4, 20))), seeded(backend)(pair.model)
        cases = [
            lambda pair=pair: pair.manifold(3),
            lambda pair=pair: pair.interpolate(None, None, kind="round"),
            lambda model=model: model(),
            lambda model=model, x=zeros: model(x, size=3),
            lambda b=backend, f=flow: make(b, "vae", (20,), 3, posterior=f),
            lambda b=backend, f=flow: make(b, "vae", (20,), 2, posterior=f),
            lambda b=backend: make(b, "vae", (20,), 3, posterior="diag"),
            lambda b=backend: make(b, "vae", (20,), 3, network="deep"),
            lambda b=backend: make(b, "vae", (20,), 3, network="convolutional"),
            lambda b=backend: make(b, "stacked_vae", (20,), (3, 2), ((8,),)),
            lambda m=models: m.SemiAmortized(None),
            lambda m=models, p=pair: m.SemiAmortized(p, 0),
            lambda m=models, p=pair: m.StackedAutoencoder([p], [], p),
        ]
        for case in cases:
            with pytest.raises((TypeError, ValueError)) as caught:
                case()
            found.append(str(caught.value).replace("Array", "Tensor"))
        messages.append(found)
    assert messages[0] == messages[1]
