"""The flows of autoregressive densities, and the noise of their conditionals."""

import copy
import pickle

import numpy as np
import pytest
from registry_conditionals import CONDITIONALS, ConditionalCase
from scipy import stats
from scipy.special import logsumexp
from test_autoregressive import bits, case_of, conditionals, jacobian

REAL = [
    *(case for case in CONDITIONALS if case.values is None and case.variant != "vector"),
    ConditionalCase(
        "MixtureConditional",
        lambda c: c.MixtureConditional(c.StudentTConditional(), 2),
        8,
        variant="student",
    ),
]
NUMBERS = [case for case in REAL if not case.event_shape]


def params_of(b, case, num_rows: int):
    rng = np.random.default_rng(3)
    return b.array(0.7 * rng.standard_normal((num_rows, case.num_params)))


def made(b, case, scale=0.1, **kwargs):
    """A small density of real values of two or three positions."""
    conditional, shape = case.build(conditionals(b)), (*case.event_shape, 3)
    module = b.make(b.D.made, shape, conditional, (8,), order=(2, 0, 1), **kwargs)
    return b.perturbed(module, scale)


def pushed(b, d):
    """Standard normal noise through the flow of a density, by the host."""
    shape = tuple(d.event_shape)
    noise = b.dist.Normal(b.array(0.0), b.array(1.0)).expand(shape).to_event(len(shape))
    return b.dist.TransformedDistribution(noise, [d.as_transform()])


def test_tails_of_student_t_variables(backend):
    """Against scipy where it is exact, and against the closed form of one degree of freedom."""
    t = np.array([-50.0, -3.0, -1e-3, 0.0, 0.5, 2.0, 6.0, 40.0, 1e6])[:, None]
    df = np.array([1.0, 1.5, 3.0, 10.0, 100.0, 1e4])
    tails = backend.load("ops.student_t").log_student_t_tails
    below, above = backend.run(tails, backend.array(t), backend.array(df))
    for found, sign in ((below, -1.0), (above, 1.0)):
        exact = stats.t.sf(sign * t, df)
        known = exact > 1e-250
        np.testing.assert_allclose(found[known], np.log(exact[known]), rtol=1e-8, atol=1e-9)
        cauchy = np.log(np.arctan2(1.0, sign * t[:, 0]) / np.pi)
        np.testing.assert_allclose(found[:, 0], cauchy, rtol=1e-13, atol=1e-13)
        assert np.isfinite(found).all()

    def total(t, df):
        return tails(t, df)[1].sum()

    t, df = (np.broadcast_to(a, (9, 6)).copy() for a in (t, df))
    if backend.name == "numpyro":
        slopes = backend.jax.grad(total, (0, 1))(backend.array(t), backend.array(df))
    else:
        leaves = [backend.array(a).requires_grad_() for a in (t, df)]
        slopes = backend.torch.autograd.grad(total(*leaves), leaves)
    slopes = [backend.numpy(slope) for slope in slopes]
    exact = -np.exp(stats.t.logpdf(t, df) - above)
    np.testing.assert_allclose(slopes[0][1:], exact[1:], rtol=1e-8)
    # where differences are exact enough
    t, df = t[1:7, :4], df[1:7, :4]
    by_df = (np.log(stats.t.sf(t, df + 1e-4)) - np.log(stats.t.sf(t, df - 1e-4))) / 2e-4
    np.testing.assert_allclose(slopes[1][1:7, :4], by_df, rtol=1e-4, atol=1e-8)


@pytest.mark.compiles
@pytest.mark.parametrize("case", REAL, ids=str)
def test_noise_of_conditionals(backend, case):
    """Both directions, the log-slopes by differences, and far out."""
    conditional, params = case.build(conditionals(backend)), params_of(backend, case, 4)
    u = np.array([-6.0, -1.0, 0.3, 6.0]).reshape((4, 1) + (1,) * len(case.event_shape))
    u = backend.array(np.broadcast_to(u, (4, 4, *case.event_shape)).copy())
    x, log_slope = backend.run(conditional.from_noise, params, u)
    back, inverse_log_slope = backend.run(conditional.to_noise, params, backend.array(x))
    np.testing.assert_allclose(back, backend.numpy(u), atol=1e-9)
    np.testing.assert_allclose(inverse_log_slope, -log_slope, atol=1e-9)
    far, _ = backend.run(conditional.from_noise, params, 5.0 * u)
    assert np.isfinite(far).all()
    if case in NUMBERS:
        noise = stats.norm.logpdf(backend.numpy(u))
        scores = backend.numpy(conditional(params).log_prob(backend.array(x)))
        np.testing.assert_allclose(scores, noise - log_slope, atol=1e-9)


def test_noise_of_mixtures_is_that_of_their_distribution_function(backend):
    c = conditionals(backend)
    conditional = c.MixtureConditional(c.StudentTConditional(), 2)
    params = params_of(backend, REAL[-1], 3)
    x = np.linspace(-4.0, 5.0, 7)[:, None]
    u, _ = backend.run(conditional.to_noise, params, backend.array(x))
    weights = np.exp(backend.numpy(params)[:, :2])
    weights = weights / weights.sum(-1, keepdims=True)
    parts = c.StudentTConditional()(params[:, 2:].reshape(3, 2, 3))
    df, loc, scale = (backend.numpy(a) for a in (parts.df, parts.loc, parts.scale))
    expected = (weights * stats.t.cdf(x[..., None], df, loc, scale)).sum(-1)
    np.testing.assert_allclose(stats.norm.cdf(u), expected, rtol=1e-9)


@pytest.mark.compiles
@pytest.mark.parametrize("case", REAL, ids=str)
def test_noise_through_the_flow_has_the_density(backend, case):
    module = made(backend, case, context_dim=2)
    context = backend.array(np.random.default_rng(0).standard_normal((2, 2)))
    d = module(context)
    flow = pushed(backend, d)
    assert tuple(flow.batch_shape) == (2,) and tuple(flow.event_shape) == tuple(d.event_shape)
    x, log_prob = backend.draw_and_score(flow, (3,))
    assert x.shape == (3, *d.batch_shape, *d.event_shape)
    np.testing.assert_allclose(log_prob, backend.score(d, x), atol=1e-8)
    np.testing.assert_allclose(backend.score(flow, x), backend.score(d, x), atol=1e-8)
    wider = flow.expand((4, 2))
    np.testing.assert_allclose(
        backend.score(wider, x[0]), np.broadcast_to(backend.score(d, x[0]), (4, 2)), atol=1e-8
    )


@pytest.mark.compiles
@pytest.mark.parametrize("case", REAL, ids=str)
def test_both_directions_and_log_det(backend, case):
    module = made(backend, case)
    transform = module().as_transform()
    rng = np.random.default_rng(1)
    u = rng.standard_normal((5, *case.event_shape, 3))
    u[3], u[4] = 6.0, -6.0
    u = backend.array(u)
    x, log_det = backend.apply(transform, "forward_and_log_det", u)
    back, inverse_log_det = backend.apply(transform, "inverse_and_log_det", backend.array(x))
    assert np.isfinite(x).all() and log_det.shape == (5,)
    assert np.isfinite(log_det).all() and np.isfinite(inverse_log_det).all()
    # far out, scales that grow with earlier values leave too few digits to come back; single
    # elements come back from there in the test of conditionals
    np.testing.assert_allclose(back[:3], backend.numpy(u)[:3], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(inverse_log_det[:3], -log_det[:3], atol=1e-6)
    for row in range(2):
        slopes = jacobian(
            backend, lambda x: transform.inverse_and_log_det(x)[0], backend.array(x[row])
        )
        size = u[row].size if backend.name == "numpyro" else u[row].numel()
        expected = np.linalg.slogdet(slopes.reshape(size, size))[1]
        np.testing.assert_allclose(inverse_log_det[row], expected, atol=1e-8)
        forward = jacobian(backend, lambda u: transform.forward_and_log_det(u)[0], u[row])
        product = slopes.reshape(size, size) @ forward.reshape(size, size)
        np.testing.assert_allclose(product, np.eye(size), atol=1e-7)
    wider, _ = backend.apply(
        transform, "forward_and_log_det", backend.array(np.zeros((2, 4, *x.shape[1:])))
    )
    assert wider.shape == (2, 4, *x.shape[1:])


@pytest.mark.compiles
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
@pytest.mark.parametrize("case", [REAL[0], REAL[-1]], ids=str)
def test_derivatives_are_those_of_differences(backend, case, direction):
    module = made(backend, case, scale=0.05, context_dim=2)
    rng = np.random.default_rng(1)
    points, context = (backend.array(rng.standard_normal((4, n))) for n in (3, 2))

    def objective(module, points, context):
        y, log_det = getattr(module(context).as_transform(), direction)(points)
        return backend.sin(y).sum() + (log_det * log_det).sum()

    named, of_arrays = backend.grads(objective, module, points, context)
    start, step, values = backend.named(module), 1e-6, []
    directions = {name: rng.standard_normal(a.shape) for name, a in start.items()}
    steps = [rng.standard_normal(a.shape) for a in of_arrays]
    for sign in (1, -1):
        moved = {name: a + sign * step * directions[name] for name, a in start.items()}
        arrays = [
            backend.array(backend.numpy(a) + sign * step * s)
            for a, s in zip((points, context), steps, strict=True)
        ]
        values += backend.run(lambda *a: (objective(*a),), backend.fill(module, moved), *arrays)
    slope = sum((named[name] * directions[name]).sum() for name in start)
    slope += sum((g * s).sum() for g, s in zip(of_arrays, steps, strict=True))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-5, abs=1e-6)


def by_hand(b, module, x, context) -> np.ndarray:
    """The noise of values by a network that sees positions and an image as they are visited."""
    network, order = module.network, np.asarray(module.orders[0])
    inputs = x.reshape(2, 6)
    if not module.knows_orders:
        inputs = inputs[:, order]
        if network.context_kind == "image":
            context = context.reshape(2, 4, 6)[..., order].reshape(context.shape)
    rows = b.array(inputs.reshape(2, *network.grid_shape, 1))
    (params,) = b.run(lambda x, c: (network(x, c),), rows, b.array(context))
    d = module.conditional(b.array(params.reshape(2, 6, -1)))
    noise = (inputs - b.numpy(d.loc)) / b.numpy(d.scale)
    return (noise if module.knows_orders else noise[:, order.argsort()]).reshape(x.shape)


@pytest.mark.parametrize(
    "case",
    [case_of(name) for name in ("MADE", "PixelCNN", "WaveNet")],
    ids=str,
)
@pytest.mark.parametrize("kind", ["label", "image", "vector"])
def test_networks_and_contexts(backend, case, kind):
    """Steps of each network under a random order, with contexts that have no derivatives too."""
    conditional = conditionals(backend).NormalConditional(0.1, 1.0)
    options = {"context_dim": 4, "context_kind": kind, "order": "random"}
    module = case.distribution(backend, (2, 3), conditional, **options)
    assert module.orders == (backend.D.random_order((6,)),) != ((0, 1, 2, 3, 4, 5),)
    module, rng = backend.perturbed(module, 0.2), np.random.default_rng(0)
    shape = module.network.context_shape
    context = np.array([1, 3]) if kind == "label" else rng.standard_normal((2, *shape))
    transform = module(backend.array(context)).as_transform()
    u = backend.array(rng.standard_normal((2, 2, 3)))

    def both(module, u):
        transform = module(backend.array(context)).as_transform()
        y, log_det = transform.forward_and_log_det(u)
        return (backend.sin(y).sum() + log_det.sum(),)

    x, _ = backend.apply(transform, "forward_and_log_det", u)
    back, _ = backend.apply(transform, "inverse_and_log_det", backend.array(x))
    np.testing.assert_allclose(back, backend.numpy(u), atol=1e-8)
    scores = stats.norm.logpdf(by_hand(backend, module, x, context)).sum((-2, -1))
    _, log_det = backend.apply(transform, "inverse_and_log_det", backend.array(x))
    expected = backend.score(module(backend.array(context)), x)
    np.testing.assert_allclose(scores + log_det, expected, atol=1e-8)
    named, (slope,) = backend.grads(lambda *a: both(*a)[0], module, u)
    assert all(np.isfinite(g).all() for g in named.values()) and abs(slope).min() > 0


def test_a_transform_is_an_object_of_the_host(backend):
    """Under a plate, as a site, pickled and copied."""
    module = made(backend, REAL[0])
    flow, x = pushed(backend, module()), np.random.default_rng(0).standard_normal((4, 3))

    def model():
        with backend.plate("data", 8, subsample_size=4):
            backend.sample("x", flow)

    expected = 2.0 * backend.score(module(), x).sum()
    assert backend.log_joint(model, {"x": x}) == pytest.approx(expected, abs=1e-8)
    transform = module().as_transform()
    for twin in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):
        found = backend.apply(twin, "inverse_and_log_det", backend.array(x))
        known = backend.apply(transform, "inverse_and_log_det", backend.array(x))
        np.testing.assert_allclose(found[0], known[0])


def test_densities_after_an_update_are_new(torch_backend):
    b = torch_backend
    module = made(b, REAL[0])
    flow = pushed(b, module())
    with b.torch.no_grad():
        x = flow.sample((4,))
        before = flow.log_prob(x)
        for parameter in module.parameters():
            parameter.add_(0.1)
        after = flow.log_prob(x)
        assert (after - before).abs().min() > 1e-4
        np.testing.assert_allclose(after.numpy(), module().log_prob(x).numpy(), atol=1e-10)


def test_others_are_refused_alike(both):
    messages = []
    for b in both:
        c, found = conditionals(b), []
        cases = [
            b.make(b.D.made, (4,), c.BernoulliConditional(), (8,))(),
            b.make(b.D.made, (4,), c.MixtureConditional(c.BernoulliConditional(), 2), (8,))(),
            b.make(
                *(b.D.made, (2, 4)),
                c.MixtureConditional(c.MultivariateNormalConditional(2), 2),
                (8,),
            )(),
        ]
        for d in cases:
            with pytest.raises(TypeError, match="use sample and log_prob") as caught:
                d.as_transform()
            found.append(str(caught.value))
        module = b.make(b.D.made, (4,), c.NormalConditional(), (8,), order=["raster", "reverse"])
        with pytest.raises(ValueError, match="order_index=0") as caught:
            module().as_transform()
        found.append(str(caught.value))
        assert module(order_index=1).as_transform() is not None
        with pytest.raises(ValueError, match="points must have shape") as caught:
            module(order_index=1).as_transform()(b.array(np.zeros((2, 3))))
        found.append(str(caught.value))
        messages.append(found)
    assert messages[0] == messages[1]


@pytest.mark.compiles
@pytest.mark.parametrize("name", ["MADE", "PixelCNN"])
def test_what_later_positions_do_not_see(backend, name):
    """With hidden elements the density is that of the network with zeros in their places."""
    conditional, values = conditionals(backend).BernoulliConditional(), bits((2, 3))
    module = case_of(name).distribution(backend, (2, 3), conditional, order=[3, 0, 2, 1, 5, 4])
    module = backend.perturbed(module, 0.5)
    keep = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    d = module(keep=backend.array(keep))
    scores = backend.score(d, values)
    np.testing.assert_allclose(logsumexp(scores), 0.0, atol=1e-10)
    assert np.abs(scores - backend.score(module(), values)).max() > 1e-3
    x, log_prob = backend.draw_and_score(d, (5,))
    np.testing.assert_allclose(log_prob, backend.score(d, x), atol=1e-10)
    several = module(keep=backend.array(np.stack([keep, np.ones(6)])))
    assert tuple(several.batch_shape) == (2,)
    found = backend.score(several, values[:, None])
    np.testing.assert_allclose(found[:, 0], scores, atol=1e-10)
    np.testing.assert_allclose(found[:, 1], backend.score(module(), values), atol=1e-10)
    with pytest.raises(ValueError, match=r"keep must have shape batch_shape \+ \(6,\)"):
        module(keep=backend.array(np.ones((2, 3))))
