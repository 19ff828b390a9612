"""Laws of flows as distributions of the host: density, samples, and their use in programs."""

import copy
import pickle

import numpy as np
import pytest
from registry import DISTRIBUTIONS, journeys

LIMIT, NUM_POINTS = 12.0, {1: 2401, 2: 481}


def trained(backend, case, input_dim, context_dim, scale=0.1):
    return backend.perturbed(case.build(backend, input_dim, context_dim), scale)


def contexts(backend, context_dim, shape=()):
    rng = np.random.default_rng(1)
    return backend.array(rng.standard_normal((*shape, context_dim))) if context_dim else None


def grid(input_dim):
    """Points of an even grid, and the volume of a cell."""
    axis = np.linspace(-LIMIT, LIMIT, NUM_POINTS[input_dim])
    points = np.stack(np.meshgrid(*[axis] * input_dim, indexing="ij"), -1)
    return points.reshape(-1, input_dim), (axis[1] - axis[0]) ** input_dim


STATISTICS = {
    "mean": lambda x: x.mean(-1),
    "square": lambda x: (x**2).sum(-1),
    "wave": lambda x: np.sin(2 * x).sum(-1),
    "first cube": lambda x: x[..., 0] ** 3,
    "product": lambda x: x[..., 0] * x[..., -1] * np.exp(-(x[..., 0] ** 2)),
}


@pytest.mark.parametrize(
    "case, input_dim, context_dim", journeys(DISTRIBUTIONS, [(1, 0), (2, 2)]), ids=str
)
def test_density_is_normalised_and_is_that_of_the_samples(backend, case, input_dim, context_dim):
    d = trained(backend, case, input_dim, context_dim)(contexts(backend, context_dim))
    points, volume = grid(input_dim)
    mass = np.exp(backend.score(d, points)) * volume
    assert mass.sum() == pytest.approx(1.0, abs=2e-4)
    samples, scores = backend.draw_and_score(d, (4000,))
    np.testing.assert_allclose(scores, backend.score(d, samples), atol=1e-6)
    for name, statistic in STATISTICS.items():
        drawn = statistic(samples)
        expected = (statistic(points) * mass).sum()
        error = drawn.std() / np.sqrt(len(drawn))
        assert abs(drawn.mean() - expected) < 4.5 * error + 1e-3, name


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(DISTRIBUTIONS, [(3, 2)]), ids=str)
def test_shapes(backend, case, input_dim, context_dim):
    flow = trained(backend, case, input_dim, context_dim)
    d = flow(contexts(backend, context_dim, (4,)))
    assert tuple(d.event_shape) == (3,) and tuple(d.batch_shape) == (4,)
    assert d.has_rsample == case.has_rsample and d.support.event_dim == 1
    x, scores = backend.draw_and_score(d, (5,))
    assert x.shape == (5, 4, 3) and scores.shape == (5, 4)
    whole = backend.score(d, x)
    np.testing.assert_allclose(scores, whole, atol=1e-7)
    for copied in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        np.testing.assert_allclose(backend.score(copied, x), whole, atol=1e-12)


@pytest.mark.parametrize("build", ["realnvp", "iaf"])
def test_expand_mask_and_to_event(backend, build):
    flow = backend.perturbed(backend.make(getattr(backend.D, build), 3, 1, (8,), context_dim=2))
    d = flow(contexts(backend, 2, (4,)))
    expanded, joined = d.expand((2, 4)), d.to_event(1)
    for distribution, batch_shape in ((expanded, (2, 4)), (joined, ())):
        assert tuple(distribution.batch_shape) == batch_shape
        x, scores = backend.draw_and_score(distribution, (5,))
        assert x.shape == (5, *batch_shape[:-1], 4, 3) and scores.shape == (5, *batch_shape)
        np.testing.assert_allclose(scores, backend.score(distribution, x), atol=1e-7)
    x = backend.draw(d, (5,))
    whole = backend.score(d, x)
    np.testing.assert_allclose(backend.score(expanded, x[:2]), whole[:2], atol=1e-10)
    np.testing.assert_allclose(backend.score(joined, x), whole.sum(-1), atol=1e-8)
    mask = np.array([True, False, True, False])
    masked = d.mask(backend.torch.tensor(mask) if backend.name == "pyro" else mask)
    np.testing.assert_allclose(backend.score(masked, x), whole * mask, atol=1e-10)
    # one point is scored under every context
    np.testing.assert_allclose(backend.score(d, x[0, 0])[0], whole[0, 0], atol=1e-10)


@pytest.mark.parametrize("case", [c for c in DISTRIBUTIONS if c.starts_as_identity], ids=str)
def test_starts_as_its_base(backend, case):
    d = case.build(backend, 2, 0)()
    x = np.random.default_rng(2).standard_normal((6, 2))
    normal = -0.5 * (x**2 + np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(backend.score(d, x), normal, atol=1e-10)


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(DISTRIBUTIONS, [(2, 0)]), ids=str)
@pytest.mark.compiles
def test_no_stale_density(backend, case, input_dim, context_dim):
    """Score, update the parameters, score again: the same sample has a new density."""
    flow = trained(backend, case, input_dim, context_dim)
    x = backend.draw(flow(), (4,))
    point = backend.array(x)
    first = backend.score(flow(), point)
    updated = backend.perturbed(flow, 0.1, seed=9)
    second = backend.score(updated(), point)
    assert np.abs(second - first).min() > 1e-6
    fresh = backend.fill(case.build(backend, input_dim, context_dim), backend.named(updated))
    np.testing.assert_allclose(second, backend.score(fresh(), x), atol=1e-12)


def test_no_stale_density_on_the_distribution_that_drew_it(torch_backend):
    b = torch_backend
    flow = b.perturbed(b.make(b.D.iaf, 2), 0.1)
    d = flow()
    x = d.rsample((3,))
    first = d.log_prob(x)
    assert d.log_prob(x) is first
    flow = b.perturbed(flow, 0.1, seed=9)
    second = d.log_prob(x)
    np.testing.assert_allclose(b.numpy(second), b.score(flow(), b.numpy(x)), atol=1e-9)
    with b.torch.no_grad():
        x.mul_(0.5)
    np.testing.assert_allclose(b.numpy(d.log_prob(x)), b.score(flow(), b.numpy(x)), atol=1e-9)


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(DISTRIBUTIONS, [(3, 2)]), ids=str)
@pytest.mark.compiles
def test_gradients_reach_parameters_and_context(backend, case, input_dim, context_dim):
    flow = trained(backend, case, input_dim, context_dim, scale=0.1)
    context = contexts(backend, context_dim, (4,))
    x = backend.array(np.random.default_rng(3).standard_normal((4, input_dim)))

    def objective(flow, x, context):
        return flow(context).log_prob(x).sum()

    named, of_arrays = backend.grads(objective, flow, x, context)
    assert set(named) == set(backend.named(flow))
    for gradient in (*named.values(), *of_arrays):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_a_fixed_base_is_moved_but_not_trained(backend):
    case = next(c for c in DISTRIBUTIONS if c.variant == "fixed-base")
    flow = case.build(backend, 2, 0)
    assert not any(name.startswith("base_dist") for name in backend.named(flow))
    assert backend.draw(flow()).dtype == np.float64
    with backend.precision(32):
        single = case.build(backend, 2, 0)
    # parameters decide the precision, not the host's default
    x = backend.draw(single(), (3,))
    assert x.dtype == np.float32 and backend.draw(single(), (3,)).shape == (3, 2)


@pytest.mark.parametrize("build", ["realnvp", pytest.param("maf", marks=pytest.mark.slow)])
@pytest.mark.compiles
def test_as_a_guide_it_learns_through_the_context(backend, build):
    """Amortised inference in a conjugate model with a plate: the exact posterior is known."""
    b = backend
    data = np.random.default_rng(4).standard_normal((20, 2)) * 1.2
    x = b.array(data)
    flow = b.make(getattr(b.D, build), 2, 2, (16,), context_dim=2)
    unit, zero = b.array(np.ones(2)), b.array(np.zeros(2))

    def model():
        with b.plate("rows", 20):
            z = b.sample("z", b.dist.Normal(zero, unit).to_event(1))
            b.sample("x", b.dist.Normal(z, 0.5 * unit).to_event(1), obs=x)

    def guide():
        net = b.module("flow", flow)
        with b.plate("rows", 20):
            b.sample("z", net(x))

    fitted, losses = b.fit(model, guide, flow, 400, 1e-2)
    assert losses[-50:].mean() < losses[:10].mean() - 5
    draws = b.draw(fitted(x), (3000,))
    np.testing.assert_allclose(draws.mean(0), 0.8 * data, atol=0.3)
    np.testing.assert_allclose(draws.std(0), np.sqrt(0.2), atol=0.12)


@pytest.mark.compiles
def test_as_a_likelihood_with_subsampling(backend):
    """A flow trained on the same data again and again, in a plate, finds their distribution."""
    b = backend
    rng = np.random.default_rng(5)
    data = b.array(rng.standard_normal((200, 2)) * np.array([0.5, 2.0]) + np.array([3.0, -1.0]))
    flow = b.make(b.D.realnvp, 2, 2, (16,))

    def model():
        d = b.module("flow", flow)()
        with b.plate("rows", 200, subsample_size=50) as index:
            b.sample("x", d, obs=data[index])

    fitted, losses = b.fit(model, lambda: None, flow, 300, 2e-2)
    assert losses[-1] < losses[0]
    draws = b.draw(fitted(), (2000,))
    np.testing.assert_allclose(draws.mean(0), [3.0, -1.0], atol=0.3)
    np.testing.assert_allclose(draws.std(0), [0.5, 2.0], rtol=0.25)


def prior_model(b, flow):
    def model():
        z = b.sample("z", flow())
        b.sample("x", b.dist.Normal(z[..., 0] + z[..., 1], 0.5), obs=b.array(1.0))

    return model


@pytest.mark.compiles
def test_nuts_over_a_flow_prior(backend):
    b = backend
    flow = b.perturbed(b.make(b.D.realnvp, 2, 2, (8,)), 0.3)
    draws = b.nuts(prior_model(b, flow), 150, 300)["z"]
    points, _ = grid(2)
    log_weights = b.score(flow(), points) - 0.5 * ((1.0 - points.sum(-1)) / 0.5) ** 2
    weights = np.exp(log_weights - log_weights.max())
    expected = (weights[:, None] * points).sum(0) / weights.sum()
    spread = np.sqrt((weights[:, None] * (points - expected) ** 2).sum(0) / weights.sum())
    assert draws.shape == (300, 2)
    np.testing.assert_allclose((draws.mean(0) - expected) / spread, 0.0, atol=0.35)


def test_log_joint_and_predictive(backend):
    b = backend
    flow = b.perturbed(b.make(b.D.nsf, 2, 1, (8,)), 0.1)
    z = np.array([0.3, -0.8])
    normal = -0.5 * ((1.0 - z.sum()) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))
    found = b.log_joint(prior_model(b, flow), {"z": z})
    assert found == pytest.approx(float(b.score(flow(), z)) + normal, abs=1e-9)

    def open_model():
        z = b.sample("z", flow())
        b.sample("x", b.dist.Normal(z[..., 0], 0.5))

    draws = b.predictive(open_model, 7)
    assert draws["z"].shape[-1] == 2 and draws["z"].shape[0] == 7
    assert draws["x"].shape[0] == 7


BAD_FLOWS = {
    "base_dist must have an empty batch shape": lambda b: b.D.Flow(
        b.dist.Normal(b.array(np.zeros(2)), 1.0), [b.T.Flip(2)]
    ),
    "base_dist must have event shape": lambda b: b.D.Flow(
        b.dist.Normal(b.array(0.0), 1.0), [b.T.Flip(2)]
    ),
    "base_dist must have input_dim=2": lambda b: b.D.Flow(b.D.StandardNormal(3), [b.T.Flip(2)]),
    "base_dist must be a distribution": lambda b: b.D.Flow(3.0, [b.T.Flip(2)]),
    "base_dist must have the context_dim=2": lambda b: b.D.Flow(
        b.make(b.D.realnvp, 2, context_dim=3), [b.make(b.T.DenseAffine, 2, 2)]
    ),
    "at least one transform": lambda b: b.D.Flow(b.D.StandardNormal(3), []),
    "kind must be one of": lambda b: b.make(b.D.nsf, 2, kind="circular"),
    "fast must be one of": lambda b: b.make(b.D.nsf, 2, kind="autoregressive", fast="both"),
    "num_transforms must be at least 1": lambda b: b.make(b.D.maf, 2, 0),
    "input_dim must be at least 1": lambda b: b.make(b.D.realnvp, 0),
    "context must be given": lambda b: b.make(b.D.realnvp, 2, context_dim=1)(),
    "context must be None": lambda b: b.make(b.D.realnvp, 2)(b.array(np.zeros(1))),
    "value must have 2 entries": lambda b: b.make(b.D.realnvp, 2)().log_prob(b.array(np.zeros(3))),
}


def test_errors_name_the_rule_alike_on_both_hosts(both):
    for rule, build in BAD_FLOWS.items():
        messages = []
        for backend in both:
            with pytest.raises((ValueError, TypeError), match=rule) as caught:
                build(backend)
            messages.append((caught.type, str(caught.value)))
        assert messages[0] == messages[1]


# NumPyro: the distribution as a pytree


@pytest.mark.parametrize("build", ["realnvp", "maf"])
@pytest.mark.slow
def test_stacked_by_vmap_it_scores_slice_by_slice(jax_backend, build):
    from numpyro.distributions.batch_util import promote_batch_shape, vmap_over

    b, jax = jax_backend, jax_backend.jax
    flow = b.perturbed(b.make(getattr(b.D, build), 3, 1, (8,), context_dim=2), 0.2)
    context = contexts(b, 2, (6, 4))
    x = b.array(np.random.default_rng(6).standard_normal((6, 4, 3)))
    expected = np.stack([b.score(flow(c), row) for c, row in zip(context, x, strict=True)])
    stacked = jax.jit(jax.vmap(flow))(context)
    by_slice = jax.vmap(lambda d, x: d.log_prob(x))(stacked, x)
    np.testing.assert_allclose(by_slice, expected, atol=1e-10)
    promoted = promote_batch_shape(stacked)
    assert promoted.batch_shape == (6, 4)
    np.testing.assert_allclose(b.score(promoted, x), expected, atol=1e-10)
    many = b.numpy(promoted.log_prob(b.array(np.stack([x, 2 * x]))))
    np.testing.assert_allclose(many[0], expected, atol=1e-10)
    np.testing.assert_allclose(b.score(promoted, x[:1]), b.score(promoted, x[:1].repeat(6, 0)))
    samples, scores = b.draw_and_score(promoted, (2,))
    assert samples.shape == (2, 6, 4, 3)
    np.testing.assert_allclose(scores, b.score(promoted, samples), atol=1e-8)
    axes = vmap_over(flow(context[0]), context=0)
    partly = jax.vmap(flow, out_axes=axes)(context)
    assert len(jax.tree.leaves(partly)) == len(jax.tree.leaves(stacked))
    np.testing.assert_allclose(b.score(promote_batch_shape(partly), x), expected, atol=1e-10)
    by_slice = jax.vmap(lambda d, x: d.log_prob(x), in_axes=(axes, 0))(partly, x)
    np.testing.assert_allclose(by_slice, expected, atol=1e-10)


@pytest.mark.parametrize("plate", [False, True])
@pytest.mark.slow
def test_inside_scan_it_equals_the_unrolled_loop(jax_backend, plate):
    from contextlib import nullcontext

    from numpyro.contrib.control_flow import scan

    b, jnp, dist = jax_backend, jax_backend.jnp, jax_backend.dist
    flow = b.perturbed(b.make(b.D.realnvp, 2, 1, (8,), context_dim=2), 0.2)
    shape = (4,) if plate else ()
    series = b.array(np.random.default_rng(7).standard_normal((5, *shape, 2)))

    def model(series):
        net = b.module("flow", flow)

        def step(previous, row):
            with b.plate("columns", 4) if plate else nullcontext():
                z = b.sample("z", net(jnp.broadcast_to(previous, (*shape, 2))))
                b.sample("x", dist.Normal(z, 1.0).to_event(1), obs=row)
            return z, None

        return scan(step, jnp.zeros((*shape, 2)), series)

    z = b.array(np.random.default_rng(8).standard_normal((5, *shape, 2)))
    seeded = b.numpyro.handlers.seed(model, 0)
    found, _ = b.numpyro.infer.util.log_density(seeded, (series,), {}, {"z": z})
    previous = jnp.concatenate([jnp.zeros((1, *shape, 2)), z[:-1]])
    expected = dist.Normal(z, 1.0).log_prob(series).sum()
    for t in range(5):
        expected = expected + flow(previous[t]).log_prob(z[t]).sum()
    assert float(found) == pytest.approx(float(expected), abs=1e-9)
    trace = b.numpyro.handlers.trace(seeded).get_trace(series)
    site = trace["z"]
    assert site["fn"].batch_shape == (5, *shape)
    scores = site["fn"].log_prob(site["value"], site["intermediates"])
    np.testing.assert_allclose(scores, site["fn"].log_prob(site["value"]), atol=1e-8)


def test_the_distribution_passes_through_jax_transformations(jax_backend):
    b, jax, jnp = jax_backend, jax_backend.jax, jax_backend.jnp
    flow = b.perturbed(b.make(b.D.realnvp, 2, 1, (8,), context_dim=1), 0.2)
    d = flow(jnp.ones((3, 1)))
    x = jnp.ones((3, 2))
    expected = d.log_prob(x)
    traces = 0

    def score(d, x):
        nonlocal traces
        traces += 1
        return d.log_prob(x)

    compiled = jax.jit(score)
    np.testing.assert_allclose(compiled(d, x), expected, atol=1e-12)
    compiled(b.perturbed(flow, 0.1)(jnp.zeros((3, 1))), x)
    assert traces == 1
    built = jax.jit(flow)(jnp.ones((3, 1)))
    np.testing.assert_allclose(built.log_prob(x), expected, atol=1e-12)
    gradient = jax.grad(lambda d: d.log_prob(x).sum())(d)
    assert jax.tree.structure(gradient) == jax.tree.structure(d)
    chosen = jax.lax.cond(x[0, 0] > 0, lambda d: d, lambda d: d, d)
    np.testing.assert_allclose(chosen.log_prob(x), expected, atol=1e-12)
    hessian = jax.jit(jax.hessian(lambda y: flow(jnp.ones(1)).log_prob(y)))(jnp.ones(2))
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-10)


def test_a_base_under_tracing_is_refused(jax_backend):
    b, jax = jax_backend, jax_backend.jax

    def build(loc):
        base = b.dist.Normal(loc, 1.0).to_event(1)
        return b.D.Flow(base, [b.T.Flip(2)])().log_prob(loc)

    with pytest.raises(ValueError, match="base_dist must hold concrete arrays"):
        jax.jit(build)(b.array(np.zeros(2)))


def test_a_missing_key_is_named(jax_backend):
    with pytest.raises(TypeError, match="rng_key must be one random key, got 3"):
        jax_backend.D.realnvp(3, 2)
