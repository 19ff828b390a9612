"""Conditionals, discretised distributions and networks whose call gives a distribution."""

import numpy as np
import pytest
from registry_conditionals import CONDITIONALS, covered_conditionals
from scipy import stats
from test_surface import PACKAGES, exported

DISCRETE = [case for case in CONDITIONALS if case.values is not None]


def build(backend, case):
    return case.build(backend.load("distributions.conditionals"))


def params_of(backend, case, *batch_shape):
    rng = np.random.default_rng(3)
    return backend.array(0.5 * rng.standard_normal((*batch_shape, case.num_params)))


def score(backend, case, d, values):
    """Log-probabilities of values as the host takes them."""
    if backend.name == "pyro":
        return backend.numpy(d.log_prob(backend.array(values)))
    values = backend.array(values) if case.values is None else backend.jnp.asarray(values)
    return backend.numpy(backend._jitted("log_prob")(d, values))


@pytest.mark.parametrize("host", PACKAGES)
def test_every_conditional_has_a_case(host):
    assert set(exported(PACKAGES[host], "distributions.conditionals")) == covered_conditionals()


@pytest.mark.compiles
@pytest.mark.parametrize("case", CONDITIONALS, ids=str)
def test_shapes_and_sizes(backend, case):
    conditional = build(backend, case)
    assert (conditional.num_params, conditional.event_shape) == (case.num_params, case.event_shape)
    assert hash(conditional) == hash(build(backend, case)) and conditional == build(backend, case)
    d = conditional(params_of(backend, case, 4, 2))
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((4, 2), case.event_shape)
    assert tuple(d.expand((5, 4, 2)).batch_shape) == (5, 4, 2)


@pytest.mark.parametrize("case", CONDITIONALS, ids=str)
def test_twins_agree(both, case):
    scores = []
    for backend in both:
        d = build(backend, case)(params_of(backend, case, 6))
        values = case.values
        if values is None:
            values = np.random.default_rng(4).standard_normal((9, *case.event_shape))
        scores.append(score(backend, case, d, values[:, None]))
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-10, atol=1e-10)


@pytest.mark.compiles
@pytest.mark.parametrize("case", DISCRETE, ids=str)
def test_probabilities_sum_to_one_and_samples_follow_them(backend, case):
    d = build(backend, case)(params_of(backend, case))
    pmf = np.exp(score(backend, case, d, case.values))
    np.testing.assert_allclose(pmf.sum(), 1.0, rtol=1e-12)
    num_samples = 20_000
    draws = backend.draw(d, (num_samples,)).reshape(num_samples, -1)
    cells = case.values.reshape(len(case.values), -1)
    counts = np.array([(draws == cell).all(-1).sum() for cell in cells])
    assert counts.sum() == num_samples
    common = pmf * num_samples > 5
    chi2 = (np.square(counts - pmf * num_samples) / (pmf * num_samples))[common].sum()
    assert stats.chi2.sf(chi2, common.sum() - 1) > 1e-4


SCALES = [1e-4, 1e-2, 1.0, 1e2]


@pytest.mark.parametrize("low, high", [(0, 255), (-3, 2), (0, 1)])
@pytest.mark.compiles
def test_discretised_logistic_is_the_difference_of_the_distribution_function(backend, low, high):
    loc, scale = np.meshgrid([-1.3, -0.2, 0.0, 0.9], SCALES)
    values = np.arange(low, high + 1)[:, None, None]
    d = backend.D.DiscretizedLogistic(backend.array(loc), backend.array(scale), low, high)
    log_pmf = backend.numpy(d.log_prob(backend.array(values)))
    np.testing.assert_allclose(np.exp(log_pmf).sum(0), 1.0, rtol=1e-12)
    assert np.isfinite(log_pmf).all()
    edges = 2.0 * (np.arange(low, high) + 0.5 - low) / (high - low) - 1.0
    cdf = stats.logistic.cdf(edges[:, None, None], loc, scale)
    cdf = np.concatenate([0 * cdf[:1], cdf, 0 * cdf[:1] + 1])
    np.testing.assert_allclose(np.exp(log_pmf), np.diff(cdf, axis=0), atol=1e-12)
    np.testing.assert_allclose(backend.numpy(d.cdf(backend.array(values))), cdf[1:], atol=1e-12)
    mean = (np.diff(cdf, axis=0) * values).sum(0)
    np.testing.assert_allclose(backend.numpy(d.mean), mean, atol=1e-9)
    variance = (np.diff(cdf, axis=0) * np.square(values - mean)).sum(0)
    np.testing.assert_allclose(backend.numpy(d.variance), variance, atol=1e-8)


@pytest.mark.compiles
def test_gradients_are_finite_in_single_precision(backend32):
    backend = backend32
    values = np.array([0.0, 1.0, 128.0, 254.0, 255.0])[:, None, None]
    loc, scale = np.meshgrid([-3.0, -1.0, 0.0, 1.0, 30.0], SCALES)

    def total(log_scale, loc):
        scale = np.e**log_scale
        d = backend.D.DiscretizedLogistic(loc, scale, 0, 255)
        return d.log_prob(backend.array(values)).sum()

    arrays = (backend.array(np.log(scale)), backend.array(loc))
    if backend.name == "numpyro":
        found = backend.jax.grad(total, (0, 1))(*arrays)
    else:
        arrays = [a.requires_grad_() for a in arrays]
        found = backend.torch.autograd.grad(total(*arrays), arrays)
    assert all(np.isfinite(backend.numpy(g)).all() for g in found)


def low_rank_by_numpy(conditional, params):
    """Mean and triangular factor in double precision, by the QR of scales and columns."""
    dim, rank = conditional.dim, conditional.rank
    loc, raw, vectors = np.split(np.asarray(params, float), [dim, 2 * dim], -1)
    scale = conditional.min_scale + np.exp(30 * np.tanh(raw / 30))
    columns = [scale[..., None] * np.eye(dim), vectors.reshape(-1, dim, rank)]
    factor = np.linalg.qr(np.concatenate(columns, -1).swapaxes(-1, -2), "r").swapaxes(-1, -2)
    return loc, factor * np.sign(np.einsum("nii->ni", factor))[:, None]


def test_a_low_rank_factor_is_that_of_the_covariance(backend):
    c = backend.load("distributions.conditionals").LowRankNormalConditional(4, 2)
    params = np.random.default_rng(0).standard_normal((6, c.num_params))
    u = np.random.default_rng(1).standard_normal((6, 4))
    loc, factor = low_rank_by_numpy(c, params)
    x, log_slopes = backend.run(c.from_noise, backend.array(params), backend.array(u))
    np.testing.assert_allclose(x, loc + np.einsum("nij,nj->ni", factor, u), atol=1e-12)
    np.testing.assert_allclose(log_slopes, np.log(np.einsum("nii->ni", factor)), atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 5.0, 50.0])
@pytest.mark.parametrize("dim, rank", [(3, 2), (12, 4)])
@pytest.mark.compiles
def test_low_rank_noise_at_large_parameters_in_single_precision(backend32, dim, rank, factor):
    """Where the covariance, formed and rounded, has no factor."""
    b = backend32
    c = b.load("distributions.conditionals").LowRankNormalConditional(dim, rank)
    rng = np.random.default_rng(0)
    params = (factor * rng.standard_normal((100, c.num_params))).astype(np.float32)
    u = rng.standard_normal((100, dim)).astype(np.float32)
    loc, lower = low_rank_by_numpy(c, params)
    log_diagonal, sizes = np.log(np.einsum("nii->ni", lower)), np.linalg.norm(lower, axis=-1)
    x, log_slopes = b.run(c.from_noise, b.array(params), b.array(u))
    assert np.abs(log_slopes - log_diagonal).max() < 1e-3
    expected = loc + np.einsum("nij,nj->ni", lower, u)
    assert (np.abs(x - expected) < 1e-4 * (np.abs(loc) + 5 * sizes)).all()
    found, log_slopes = b.run(c.to_noise, b.array(params), b.array(x))
    assert np.abs(log_slopes + log_diagonal).max() < 1e-3
    # the noise of points as near as the precision tells them apart
    near = loc + np.einsum("nij,nj->ni", lower, found)
    assert (np.abs(near - x) < 1e-4 * (np.abs(loc) + 5 * sizes)).all()
    # the density of these points by the noise that was found, and at the mean
    constant = -log_diagonal.sum(-1) - dim / 2 * np.log(2 * np.pi)
    for points, noise in ((x, found), (loc, np.zeros_like(loc))):
        log_prob = b.numpy(c(b.array(params)).log_prob(b.array(points)))
        expected = constant - (noise**2).sum(-1) / 2
        np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-2)

    def total(params):
        noise, log_slopes = c.to_noise(params, b.array(x))
        return noise.sum() + log_slopes.sum()

    if b.name == "numpyro":
        slopes = b.jax.jit(b.jax.grad(total))(b.array(params))
    else:
        slopes = b.torch.autograd.functional.jacobian(total, b.array(params))
    assert np.isfinite(b.numpy(slopes)).all()


def test_errors_of_discretised_distributions(backend):
    logistic, mixture = backend.D.DiscretizedLogistic, backend.D.DiscretizedLogisticMixture
    zero = backend.array(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="high must be above low=3, got 3"):
        logistic(zero, zero + 1, 3, 3)
    with pytest.raises(ValueError, match="3 and 3 entries"):
        mixture(zero[:, 0], zero, zero + 1, zero[:, :2])
    d = logistic(zero, zero + 1, 0, 3, validate_args=True)
    if backend.name == "pyro":
        with pytest.raises(ValueError, match="support"):
            d.log_prob(zero + 0.5)
    else:
        with pytest.warns(UserWarning, match="Out-of-support"):
            d.log_prob(zero + 0.5)


LAYOUTS = [
    # event shape, channels first, conditional, shape of what the network gives, event shape
    ((2, 3), False, ("NormalConditional",), (12,), (2, 3)),
    ((), False, ("MultivariateNormalConditional", 3), (9,), (3,)),
    ((2, 4, 5), True, ("NormalConditional",), (4, 4, 5), (2, 4, 5)),
    ((4, 5), True, ("DiscretizedLogisticMixtureConditional", 2, 0, 3, 3), (20, 4, 5), (4, 5, 3)),
]


@pytest.mark.compiles
@pytest.mark.parametrize("event_shape, channels_first, conditional, given, event", LAYOUTS)
def test_layouts_of_networks(backend, event_shape, channels_first, conditional, given, event):
    name, *args = conditional
    conditional = getattr(backend.load("distributions.conditionals"), name)(*args)
    params = np.random.default_rng(0).standard_normal((7, 2, *given))
    decoder = backend.D.ConditionalDistribution(
        lambda x: backend.array(params), conditional, event_shape, channels_first
    )
    d = decoder(None)
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((7, 2), event)
    # one element by hand
    count = conditional.num_params
    if not channels_first:
        one = params[0, 1].reshape(-1, count)[0]
    elif conditional.event_shape:
        one = params[0, 1, :, 0, 0]
    else:
        one = params[0, 1, :count, 0, 0]
    expected = conditional(backend.array(one))
    x = backend.draw(d)
    inner = d.base_dist if event_shape else d
    index = (0, 1) + (0,) * len(event_shape)
    found = backend.numpy(inner.log_prob(backend.array(x)))[index]
    np.testing.assert_allclose(found, backend.numpy(expected.log_prob(backend.array(x[index]))))


def test_errors_of_conditional_distributions(backend):
    build, c = backend.D.ConditionalDistribution, backend.load("distributions.conditionals")
    with pytest.raises(TypeError, match="conditional must be a Conditional"):
        build(lambda x: x, "bernoulli")
    decoder = build(lambda x: x, c.BernoulliConditional(), (3,))
    with pytest.raises(ValueError, match=r"shape \(3,\) after the batch shape, got \(5, 4\)"):
        decoder(backend.array(np.zeros((5, 4))))
    for wrong in (lambda: c.CategoricalConditional(0), lambda: c.NormalConditional(0.2, 0.1)):
        with pytest.raises(ValueError, match="must be"):
            wrong()


@pytest.mark.slow
@pytest.mark.parametrize("case", [DISCRETE[2], DISCRETE[4]], ids=str)
def test_jit_and_vmap_over_the_distribution(jax_backend, case):
    jax, jnp = jax_backend.jax, jax_backend.jnp
    conditional, params = build(jax_backend, case), params_of(jax_backend, case, 6)
    x = jnp.asarray(case.values[:6])
    expected = conditional(params).log_prob(x)
    np.testing.assert_allclose(jax.jit(lambda d: d.log_prob(x))(conditional(params)), expected)
    # the object built under vmap, and handed to another
    mapped = jax.vmap(conditional)(params)
    found = jax.vmap(lambda d, x: d.log_prob(x))(mapped, x)
    np.testing.assert_allclose(found, expected)
    draws = jax.jit(lambda d, k: d.sample(k, (3,)))(conditional(params), jax_backend.key())
    assert draws.shape == (3, 6, *case.event_shape)


# draws by hand of (500, 2) elements, and the family's arguments
MARGINALS = {
    "BernoulliConditional": ((), lambda rng: rng.random((500, 2)) < (0.2, 0.9)),
    "CategoricalConditional": ((4,), lambda rng: rng.binomial(3, (0.2, 0.7), (500, 2))),
    "NormalConditional": ((), lambda rng: rng.normal((3.0, -1.0), (0.5, 2.0), (500, 2))),
    "StudentTConditional": ((), lambda rng: rng.standard_t(10, (500, 2)) * (0.5, 2.0) + 3.0),
    "DiscretizedLogisticConditional": (
        (0, 16),
        lambda rng: np.clip(rng.logistic((8, 4), 1.0, (500, 2)).round(), 0, 16),
    ),
}


@pytest.mark.parametrize("name", MARGINALS)
def test_elements_start_from_the_data_of_their_place(backend, name):
    args, draw = MARGINALS[name]
    x = np.asarray(draw(np.random.default_rng(0)), float)
    conditional = getattr(backend.load("distributions.conditionals"), name)(*args)
    params = conditional.marginal_params(x)
    assert params.shape == (2, conditional.num_params)

    def mean_score(params):
        d, values = conditional(backend.array(params)), backend.array(x)
        if backend.name == "numpyro" and name == "CategoricalConditional":
            values = backend.jnp.asarray(x, int)
        return backend.numpy(d.log_prob(values)).mean(0)

    # no change of one parameter, up or down, explains the data much better
    best = mean_score(params)
    assert (best > mean_score(np.zeros_like(params)) - 1e-9).all()
    for k in range(conditional.num_params):
        for step in (-0.3, 0.3):
            moved = params.copy()
            moved[:, k] += step
            assert (mean_score(moved) < best + 5e-3).all(), (k, step)


def test_limited_scales_start_within_their_limits(backend):
    c = backend.load("distributions.conditionals")
    x = np.random.default_rng(0).normal(2.0, (0.3, 5.0, 0.0), (900, 3))
    d = c.NormalConditional(0.1, 1.0)
    found = backend.numpy(d(backend.array(d.marginal_params(x))).scale)
    np.testing.assert_allclose(found, [x[:, 0].std(), 0.991, 0.109], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_components_of_mixtures_start_apart(backend, channels):
    c = backend.load("distributions.conditionals")
    conditional = c.DiscretizedLogisticMixtureConditional(2, 0, 100, channels)
    rng = np.random.default_rng(0)
    low, high = (center + rng.integers(-3, 4, (300, channels)) for center in (20, 80))
    x = rng.permutation(np.concatenate([low, high]))
    params = conditional.marginal_params(x if channels > 1 else x[:, 0])
    np.testing.assert_array_equal(params[:2], 0.0)
    locs = params[2:].reshape(2, -1)[:, :channels]
    np.testing.assert_allclose(locs, np.stack([low.mean(0), high.mean(0)]) / 50 - 1)
    d, values = conditional(backend.array(params)), x if channels > 1 else x[:, 0]
    scores = backend.numpy(d.log_prob(backend.array(values.astype(float))))
    # of seven values, in one of two places
    assert abs(scores.mean() / channels + np.log(14)) < 0.5


def test_offsets_are_added_element_by_element(backend):
    c, build = backend.load("distributions.conditionals"), backend.D.ConditionalDistribution
    offset = np.arange(24.0).reshape(2, 3, 2, 2)
    images = build(
        lambda x: backend.array(np.zeros((5, 4, 3, 2))),
        c.NormalConditional(),
        (2, 3, 2),
        True,
        offset,
    )
    loc = backend.numpy(images(None).base_dist.loc)
    np.testing.assert_allclose(loc, np.broadcast_to(offset[..., 0], (5, 2, 3, 2)))
    with pytest.raises(ValueError, match=r"offset must have shape \(2, 3, 2, 2\), got \(2,\)"):
        build(lambda x: x, c.NormalConditional(), (2, 3, 2), True, np.zeros(2))
    with pytest.raises(ValueError, match="family that can start from data"):
        c.MultivariateNormalConditional(2).marginal_params(np.zeros((4, 2)))
