"""Autoregressive parts of auto-encoders: priors and decoders, and inference of their contexts."""

import numpy as np
import pytest
from registry_models import digits
from scipy.special import logsumexp
from test_autoregressive import bits, case_of, conditionals
from test_pair_exactness import evidence, joint, loss, make
from test_pairs import call, sample

pytestmark = pytest.mark.compiles
PIXELS = {"hidden_dim": 4, "num_blocks": 1, "kernel_size": 3, "feature_dim": 2}


@pytest.fixture
def restored(torch_backend):
    """Pyro's random state is left as it was."""
    with torch_backend.torch.random.fork_rng():
        yield


def images(b, num_rows: int, side: int = 4):
    middle = slice(4 - side // 2, 4 + side // 2)
    return b.array(digits("bits", num_rows)[:, None, middle, middle])


def pixel_vae(b, latent_dim=1, side=4, scale=0.3, **options):
    pair = make(b, "pixel_vae", (1, side, side), latent_dim, (2,), **{**PIXELS, **options})
    return b.perturbed(pair, scale)


def prior_of(b, latent_dim: int, **options):
    module = b.make(b.D.made, (latent_dim,), conditionals(b).NormalConditional(), (6,), **options)
    return b.perturbed(module, 0.2)


def on_a_line(b, pair, x) -> np.ndarray:
    """The log evidence of every datum by sums over one latent variable."""
    grid = np.linspace(-12.0, 12.0, 2001)
    z = b.array(grid[:, None, None])
    terms = b.numpy(pair.likelihood(z).log_prob(x)) + b.numpy(pair.prior().log_prob(z))
    return logsumexp(terms, axis=0) + np.log(grid[1] - grid[0])


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("kind", ["prior", "decoder"])
def test_evidence_is_that_of_sums_over_the_latent_variable(backend, kind):
    if kind == "prior":
        prior = prior_of(backend, 1)
        pair = backend.perturbed(make(backend, "vae", (1, 4, 4), 1, (6,), prior=prior), 0.3)
    else:
        # near the start the posteriors are broad enough to draw from
        pair = pixel_vae(backend, scale=0.1)
    x = images(backend, 4)
    found, exact = evidence(backend, pair, 1000, x), on_a_line(backend, pair, x)
    assert (abs(found.log_evidence - exact) < 5 * found.error + 1e-6).all()
    assert (found.elbo < exact).all()
    bound = backend.load("infer").IWELBO(20)
    assert -loss(backend, bound, pair, x) < exact.sum() + 0.5


def test_a_learned_prior_reaches_the_prior_s_parameters(backend):
    """Its draws are those of the host, and the layers of a stack take one too."""
    prior = prior_of(backend, 2)
    pair = make(backend, "stacked_vae", (5,), (3, 2), ((6,), (6,)), prior=prior)
    rng, x = np.random.default_rng(0), backend.array(digits("bits", 4).reshape(4, -1)[:, :5])
    values = {f"z{i}": backend.array(rng.standard_normal((4, n))) for i, n in ((1, 3), (2, 2))}
    found = joint(backend, lambda: pair.model(x), values)
    expected = backend.score(pair.prior(), values["z2"]).sum()
    expected += backend.score(pair.decoders[1](values["z2"]), values["z1"]).sum()
    expected += backend.score(pair.likelihood(values["z1"]), x).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    named, _ = backend.grads(lambda pair, z: pair.prior().log_prob(z).sum(), pair, values["z2"])
    assert abs(named["latent_prior.network.layers.0.weight"]).max() > 0
    assert sample(backend, pair, 3).shape == (3, 5)
    assert backend.predictive(lambda: pair.model(size=4), 2)["x"].shape == (2, 4, 5)


def test_a_manifold_needs_quantiles(backend):
    pair = make(backend, "vae", (5,), 2, (6,), prior=prior_of(backend, 2))
    with pytest.raises(ValueError, match="prior must be a product .* got AutoregressiveDist"):
        pair.manifold(3)
    grid = call(backend, pixel_vae(backend, 2).manifold, 3) if backend.name == "numpyro" else None
    if grid is None:
        grid = pixel_vae(backend, 2).manifold(3).numpy()
    assert grid.shape == (3, 3, 1, 4, 4) and set(np.unique(grid)) <= {0.0, 1.0}


def test_a_decoder_takes_particles_and_the_context(backend):
    pair = pixel_vae(backend, 2, context_dim=3)
    rng, x = np.random.default_rng(0), images(backend, 4)
    z, context = backend.array(rng.standard_normal((5, 4, 2))), backend.array(np.eye(4, 3))
    scores = backend.numpy(pair.likelihood(z, context).log_prob(x))
    one = backend.numpy(pair.likelihood(z[3, 1], context[1]).log_prob(x[1]))
    assert scores.shape == (5, 4)
    np.testing.assert_allclose(scores[3, 1], one, rtol=1e-10)
    for index in range(2):
        _, grads = backend.grads(
            lambda pair, *a: pair.likelihood(*a).log_prob(x).sum(), pair, z, context
        )
        assert (abs(grads[index]).max((0, -1)) > 0).all()
    assert np.isfinite(loss(backend, backend.load("infer").IWELBO(3), pair, x, context))
    values = {"z": z[0]}
    part, whole = (
        joint(backend, lambda size=size: pair.model(x, context, size=size), values)
        for size in (None, 40)
    )
    assert whole == pytest.approx(10 * part, rel=1e-10)


@pytest.mark.usefixtures("restored")
def test_elements_that_are_not_seen_are_so_in_training_alone(backend):
    pair, x = pixel_vae(backend, 2, decoder="pixel_cnn", kernel_size=3), images(backend, 4)
    values = {"z": backend.array(np.zeros((4, 2)))}
    exact = backend.score(pair.likelihood(values["z"]), x) + backend.score(
        pair.prior(), values["z"]
    )

    def score(**options):
        return joint(backend, lambda: pair.model(x, **options), values)

    np.testing.assert_allclose(score(), exact.sum(), rtol=1e-10)
    assert abs(score(input_dropout=0.5) - exact.sum()) > 1e-3
    with pytest.raises(ValueError, match="input_dropout must be between 0 and 1"):
        score(input_dropout=1.0)


@pytest.mark.usefixtures("restored")
def test_features_are_dropped_in_training_alone(backend):
    sizes = {"hidden_dim": 3, "num_blocks": 1, "num_scales": 1, "dropout": 0.5}
    sizes |= {"context_dim": 2, "context_kind": "image"}
    density = backend.make(
        backend.D.pixel_cnn_plus_plus, (4, 4), conditionals(backend).BernoulliConditional(), **sizes
    )
    plain = pixel_vae(backend, 2)
    parts = plain.encoder, backend.D.AmortizedAutoregressive(plain.decoder.network, density)
    pair = backend.load("models").PixelVAE(*parts, plain.latent_prior)
    pair = backend.perturbed(pair, 0.3)
    # its event has no dimension of the channel
    x, values = images(backend, 4)[:, 0], {"z": backend.array(np.zeros((4, 2)))}

    def score(**options):
        return joint(backend, lambda: pair.model(x, **options), values)

    dropped = score(training=True)
    exact = score()
    features = pair.decoder.features(values["z"])
    alone = backend.score(pair.decoder.density(features), x).sum()
    np.testing.assert_allclose(
        exact, alone + backend.score(pair.prior(), values["z"]).sum(), rtol=1e-10
    )
    assert abs(dropped - exact) > 1e-3
    if backend.name == "pyro":
        assert not pair.decoder.training


def train(b, pair, x, num_steps: int, bound, **kwargs):
    infer = b.load("infer")
    options = {"args": (x,), "batch_size": 50, "learning_rate": 2e-2, "progress": False}
    options |= {"loss": bound, "kwargs": {"size": len(x), **kwargs}}
    if b.name == "numpyro":
        result = infer.fit(b.key(), pair.model, pair.guide, num_steps, **options)
        return pair.with_params(result.params)
    # another pair of the same name may have been trained before
    b.pyro.clear_param_store()
    with b.torch.random.fork_rng():
        b.torch.manual_seed(0)
        infer.fit(pair.model, pair.guide, num_steps, **options)
    return pair


def divergence(b, pair, x) -> float:
    """Mean divergence of the posteriors from the standard normal prior, in closed form."""
    q = pair.posterior(x).base_dist
    loc, scale = b.numpy(q.loc), b.numpy(q.scale)
    return float((0.5 * (loc**2 + scale**2 - 1.0) - np.log(scale)).sum(-1).mean())


@pytest.mark.slow
@pytest.mark.usefixtures("restored")
def test_free_nats_keep_the_posterior_from_collapse(backend32):
    b = backend32
    bound, x, rates = b.load("infer").BetaELBO, images(b, 1000, 8), []
    for free_bits in (0.0, 4.0):
        pair = make(b, "pixel_vae", (1, 8, 8), 4, (4,), **{**PIXELS, "hidden_dim": 8})
        pair = train(b, pair, x, 300, bound(free_bits=free_bits, analytic=True))
        rates.append(divergence(b, pair, x))
    # without them, the decoder does without the latent variables
    assert rates[0] < 1.0 and rates[1] > 0.95 * 4.0


def test_a_committed_posterior_keeps_its_rate(backend):
    pair, x = pixel_vae(backend, 2, committed_rate=3.0, num_steps=4), images(backend, 1)
    q = pair.posterior(x[0])
    z, log_prob = backend.draw_and_score(q, (4000,))
    assert z.shape == (4000, 2, 4)
    ratio = log_prob - backend.score(pair.prior(), z)
    assert ratio.mean() > 3.0 - 4.0 * ratio.std() / np.sqrt(4000)


def test_sizes_that_do_not_fit_are_refused_alike(both):
    messages = []
    for b in both:
        found, c = [], conditionals(b)
        for options in (
            {"decoder": "row_lstm"},
            {"network": "dense"},
            {"conditional": c.DiscretizedLogisticMixtureConditional(2, 0, 3, channels=3)},
            {"committed_rate": 2.0, "posterior": "full"},
            {"feature_dim": 0},
        ):
            with pytest.raises(ValueError, match="must") as caught:
                make(b, "pixel_vae", (1, 8, 8), 2, (4,), **options)
            found.append(str(caught.value))
        with pytest.raises(ValueError, match="density must take a context") as caught:
            density = b.make(b.D.made, (4,), c.BernoulliConditional(), (8,))
            b.D.AmortizedAutoregressive(None, density)
        found.append(str(caught.value))
        messages.append(found)
    assert messages[0] == messages[1]


def test_colours(backend):
    """A conditional whose element holds the channels."""
    family = conditionals(backend).DiscretizedLogisticMixtureConditional(2, 0, 3, channels=3)
    options = {**PIXELS, "conditional": family, "input_range": (0, 3)}
    pair = make(backend, "pixel_vae", (3, 4, 5), 2, (3,), **options)
    x = sample(backend, pair, 2)
    assert x.shape == (2, 3, 4, 5) and x.min() >= 0 and x.max() <= 3
    z = pair.posterior(backend.array(x)).mean
    assert tuple(z.shape) == (2, 2)
    assert np.isfinite(backend.numpy(pair.likelihood(z).log_prob(backend.array(x)))).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MADE", "PixelCNN"])
def test_chains_over_a_continuous_context(backend, name):
    """The posterior of the context of a network, against sums over a grid."""
    conditional = conditionals(backend).BernoulliConditional()
    module = case_of(name).distribution(backend, (2, 3), conditional, context_dim=2)
    module = backend.perturbed(module, 0.4)
    x = bits((2, 3))[[5] * 60]

    def model():
        zeros = backend.array(np.zeros(2))
        z = backend.sample("z", backend.dist.Normal(zeros, 1.0).to_event(1))
        with backend.plate("data", 60):
            backend.sample("x", module(z), obs=backend.array(x))

    drawn = backend.nuts(model, 100, 200)["z"]
    line = np.linspace(-8.0, 8.0, 81)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    scores = backend.score(module(backend.array(grid)[:, None]), x).sum(-1)
    weights = scores - 0.5 * np.square(grid).sum(-1)
    weights = np.exp(weights - logsumexp(weights))
    mean = weights @ grid
    spread = np.sqrt(weights @ np.square(grid - mean))
    # correlated draws: errors as of a quarter of their number
    error = spread / np.sqrt(50)
    assert (abs(drawn.mean(0) - mean) < 4 * error).all()
    assert (abs(mean) > 4 * error).any()


@pytest.mark.slow
def test_chains_over_the_latent_variables_of_a_pair(backend):
    pair, x = pixel_vae(backend, 1), images(backend, 1)

    def model():
        z = backend.sample("z", pair.prior())
        backend.sample("x", pair.likelihood(z), obs=x[0])

    drawn = backend.nuts(model, 100, 200)["z"][:, 0]
    grid = np.linspace(-8.0, 8.0, 801)
    scores = backend.score(pair.likelihood(backend.array(grid[:, None])), x[0]) - 0.5 * grid**2
    weights = np.exp(scores - logsumexp(scores))
    mean = weights @ grid
    spread = np.sqrt(weights @ (grid - mean) ** 2)
    assert abs(drawn.mean() - mean) < 4 * spread / np.sqrt(50)
