"""Laws of bijections, over every transform and elementwise map of the registry, on both hosts."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from backends import is_constant
from registry import MAPS, TRANSFORMS, journeys

DIMS = [(1, 2), (2, 0), (5, 2)]
POINTS = (4, 3)
# a case for points of the whole line
ON_THE_LINE = TRANSFORMS[0]


def arrays(backend, case, input_dim: int, context_dim: int, shape=POINTS, seed: int = 3):
    """Points of the domain, and contexts of the last dimension of the shape or None."""
    rng = np.random.default_rng(seed)
    x = backend.array(case.domain(1.5 * rng.standard_normal((*shape, input_dim))))
    context = rng.standard_normal((*shape[-1:], context_dim))
    return x, backend.array(context) if context_dim else None


def trained(backend, case, input_dim: int, context_dim: int, scale: float = 0.2):
    return backend.perturbed(case.build(backend, input_dim, context_dim), scale)


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, DIMS), ids=str)
def test_both_directions_and_log_det(backend, case, input_dim, context_dim):
    transform = trained(backend, case, input_dim, context_dim)
    x, context = arrays(backend, case, input_dim, context_dim)
    y, log_det = backend.apply(transform, "forward_and_log_det", x, context)
    assert y.shape == x.shape and log_det.shape == POINTS
    back, inverse_log_det = backend.apply(
        transform, "inverse_and_log_det", backend.array(y), context
    )
    np.testing.assert_allclose(back, backend.numpy(x), atol=case.tolerance)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=case.tolerance)
    # onto: any point is an image
    z = np.random.default_rng(4).standard_normal((*POINTS, input_dim))
    z = backend.array(case.image(1.5 * z))
    preimage, _ = backend.apply(transform, "inverse_and_log_det", z, context)
    image, _ = backend.apply(transform, "forward_and_log_det", backend.array(preimage), context)
    np.testing.assert_allclose(image, backend.numpy(z), atol=case.tolerance)
    for row in range(POINTS[1]):
        row_context = None if context is None else context[row]
        jacobian = backend.jacobian(transform, "forward_and_log_det", x[0, row], row_context)
        expected = np.linalg.slogdet(jacobian)[1]
        np.testing.assert_allclose(log_det[0, row], expected, atol=case.tolerance)


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, [(3, 2)]), ids=str)
def test_any_leading_shape(backend, case, input_dim, context_dim):
    transform = trained(backend, case, input_dim, context_dim)
    x, context = arrays(backend, case, input_dim, context_dim, (2, 3))
    y = backend.array(case.image(backend.numpy(x)))
    one_context = None if context is None else context[2]

    def every_shape(transform):
        directions = (transform.forward_and_log_det, x), (transform.inverse_and_log_det, y)
        for method, points in directions:
            yield from method(points, context)
            yield from method(points[1], context)
            yield from method(points[1, 2], one_context)

    results = backend.run(lambda transform: tuple(every_shape(transform)), transform)
    for direction in (results[:6], results[6:]):
        for whole, row, point in zip(*(direction[i : i + 2] for i in (0, 2, 4)), strict=True):
            np.testing.assert_allclose(row, whole[1], atol=case.tolerance)
            np.testing.assert_allclose(point, whole[1, 2], atol=case.tolerance)


@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, [(3, 2)]), ids=str)
def test_gradients(backend, case, input_dim, context_dim, method):
    """Gradients reach every parameter, the points and the context, and equal differences."""
    transform = trained(backend, case, input_dim, context_dim, scale=0.1)
    x, context = arrays(backend, case, input_dim, context_dim)
    if method.startswith("inverse"):
        x = backend.array(case.image(backend.numpy(x)))
    points = backend.numpy(x)

    def objective(transform, x, context):
        image, log_det = getattr(transform, method)(x, context)
        return backend.sin(image).sum() + (log_det * log_det).sum()

    def alone(transform, x, context):
        return (objective(transform, x, context),)

    named, of_arrays = backend.grads(objective, transform, x, context)
    assert len(of_arrays) == (1 if context is None else 2)
    for gradient in of_arrays:
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    for name, gradient in named.items():
        assert np.isfinite(gradient).all(), name
        assert is_constant(name) or np.abs(gradient).max() > 0, name
    rng = np.random.default_rng(5)
    direction = {name: rng.standard_normal(g.shape) for name, g in named.items()}
    step_x = rng.standard_normal(x.shape)
    step = 1e-6
    values = []
    start = backend.named(transform)
    for sign in (1, -1):
        moved = {
            k: v if is_constant(k) else v + sign * step * direction[k] for k, v in start.items()
        }
        moved_x = points + sign * step * step_x
        transform = backend.fill(transform, moved) if moved else transform
        values += backend.run(alone, transform, backend.array(moved_x), context)
    trained_names = [name for name in named if not is_constant(name)]
    slope = (
        sum((named[k] * direction[k]).sum() for k in trained_names) + (of_arrays[0] * step_x).sum()
    )
    difference = (values[0] - values[1]) / (2 * step)
    assert slope == pytest.approx(difference, rel=2e-5, abs=1e-6)


STARTING_AS_IDENTITY = [case for case in TRANSFORMS if case.starts_as_identity]


@pytest.mark.parametrize(
    "case, input_dim, context_dim", journeys(STARTING_AS_IDENTITY, [(1, 0), (4, 2)]), ids=str
)
@pytest.mark.compiles
def test_starts_as_the_identity(backend, case, input_dim, context_dim):
    transform = case.build(backend, input_dim, context_dim)
    x, context = arrays(backend, case, input_dim, context_dim)
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        y, log_det = backend.apply(transform, method, x, context)
        np.testing.assert_allclose(y, backend.numpy(x), atol=1e-10)
        np.testing.assert_allclose(log_det, 0.0, atol=1e-10)


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, [(3, 2)]), ids=str)
@pytest.mark.compiles
def test_extreme_parameters_and_outliers_give_no_nan(backend32, case, input_dim, context_dim):
    backend = backend32
    transform = trained(backend, case, input_dim, context_dim, scale=10.0)
    values = [-1e6, -5.0, -3.0, -1e-3, 0.0, 1.0, 3.0, 1e6]
    points = np.array(list(itertools.product(values, repeat=input_dim)))[::5]
    x, y = backend.array(case.domain(points)), backend.array(case.image(points))
    context = backend.array(np.ones(context_dim)) if context_dim else None

    def objective(transform, x, context):
        image, log_det = transform.forward_and_log_det(x, context)
        return backend.sin(image).sum() + log_det.sum()

    for method, points in (("forward_and_log_det", x), ("inverse_and_log_det", y)):
        for result in backend.apply(transform, method, points, context):
            assert result.dtype == np.float32
            assert not np.isnan(result).any()
    named, of_arrays = backend.grads(objective, transform, x, context)
    for gradient in (*named.values(), *of_arrays):
        assert not np.isnan(gradient).any()


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, [(3, 2)]), ids=str)
def test_pickle_and_deepcopy(backend, case, input_dim, context_dim):
    transform = trained(backend, case, input_dim, context_dim)
    x, context = arrays(backend, case, input_dim, context_dim)
    expected = backend.apply(transform, "forward_and_log_det", x, context)
    # a used transform, whose inverse was asked for
    assert transform.condition(context).inv is not None
    for copied in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        found = backend.apply(copied, "forward_and_log_det", x, context)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, [(3, 2)]), ids=str)
def test_conditioned_it_is_a_transform_of_the_host(backend, case, input_dim, context_dim):
    transform = trained(backend, case, input_dim, context_dim)
    x, context = arrays(backend, case, input_dim, context_dim)
    expected, log_det = backend.apply(transform, "forward_and_log_det", x, context)
    bound = transform.condition(context)

    def every_hook(bound, x):
        y = bound(x)
        inverse = bound.inv
        log_dets = bound.log_abs_det_jacobian(x, y), inverse.log_abs_det_jacobian(y, x)
        return y, inverse(y), *log_dets

    y, back, found, of_inverse = backend.run(every_hook, bound, x)
    close = dict(atol=case.tolerance)
    np.testing.assert_allclose(y, expected, **close)
    np.testing.assert_allclose(back, backend.numpy(x), **close)
    np.testing.assert_allclose(found, log_det, **close)
    np.testing.assert_allclose(of_inverse, -log_det, **close)
    normal = backend.dist.Normal(backend.array(np.zeros(3)), 1.0).to_event(1)
    base = normal.expand(POINTS[1:])
    pushed = backend.dist.TransformedDistribution(base, [bound])
    found = backend.score(pushed, y)
    np.testing.assert_allclose(found, backend.score(base, x) - log_det, **close)
    samples, scores = backend.draw_and_score(pushed, (2,))
    assert samples.shape == (2, POINTS[1], 3)
    np.testing.assert_allclose(scores, backend.score(pushed, samples), atol=1e-6)
    assert hash(bound) is not None and (bound == bound) and not (bound == backend.T.Flip(4))


@pytest.mark.parametrize("case", MAPS, ids=str)
@pytest.mark.compiles
def test_elementwise_maps(backend, case):
    elementwise = case.build(backend, 0, 0)
    rng = np.random.default_rng(6)
    x = case.domain(np.sort(4.0 * rng.standard_normal((50, 2)), 0))
    params = rng.standard_normal((elementwise.num_params, 2))
    y, log_slope = elementwise.forward_and_log_det(backend.array(x), backend.array(params))
    back, inverse_log_slope = elementwise.inverse_and_log_det(y, backend.array(params))
    np.testing.assert_allclose(backend.numpy(back), x, atol=1e-9)
    np.testing.assert_allclose(
        backend.numpy(inverse_log_slope), -backend.numpy(log_slope), atol=1e-9
    )
    assert (np.diff(backend.numpy(y), axis=0) > 0).all()
    step = 1e-6
    up, _ = elementwise.forward_and_log_det(backend.array(x + step), backend.array(params))
    down, _ = elementwise.forward_and_log_det(backend.array(x - step), backend.array(params))
    slope = (backend.numpy(up) - backend.numpy(down)) / (2 * step)
    np.testing.assert_allclose(np.exp(backend.numpy(log_slope)), slope, rtol=1e-5)
    if not case.starts_as_identity:
        return
    identity, zero = elementwise.forward_and_log_det(backend.array(x), backend.array(0.0 * params))
    np.testing.assert_allclose(backend.numpy(identity), x, atol=1e-12)
    np.testing.assert_allclose(backend.numpy(zero), 0.0, atol=1e-12)


def naive_spline(x: float, widths, heights, slopes, bound: float) -> tuple[float, float]:
    """Durkan et al. 2019, equations 4 and 5, for one number."""
    if not -bound < x < bound:
        return x, 0.0

    def knots(raw):
        sizes = np.exp(raw - raw.max()) / np.exp(raw - raw.max()).sum()
        sizes = 1e-3 + (1 - 1e-3 * len(raw)) * sizes
        return np.concatenate([[-bound], -bound + 2 * bound * np.cumsum(sizes)])

    xs, ys = knots(widths), knots(heights)
    shift = np.log(np.expm1(1 - 1e-3))
    d = np.concatenate([[1.0], np.logaddexp(0.0, slopes + shift) + 1e-3, [1.0]])
    k = int(np.searchsorted(xs[1:-1], x, side="right"))
    w, h = xs[k + 1] - xs[k], ys[k + 1] - ys[k]
    s, xi = h / w, (x - xs[k]) / w
    bottom = s + (d[k + 1] + d[k] - 2 * s) * xi * (1 - xi)
    y = ys[k] + h * (s * xi**2 + d[k] * xi * (1 - xi)) / bottom
    top = d[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2
    return y, np.log(s**2 * top / bottom**2)


def test_spline_against_the_formula_bin_by_bin(backend):
    elementwise = backend.T.RationalQuadraticMap(num_bins=5, bound=3.0)
    rng = np.random.default_rng(7)
    params = 1.5 * rng.standard_normal((14, 1))
    x = np.concatenate([np.linspace(-3.5, 3.5, 57), [-3.0, 3.0, 1e6]])[:, None]
    y, log_slope = elementwise.forward_and_log_det(backend.array(x), backend.array(params))
    pieces = np.split(params[:, 0], [5, 10])
    expected = np.array([naive_spline(value, *pieces, 3.0) for value in x[:, 0]])
    np.testing.assert_allclose(backend.numpy(y)[:, 0], expected[:, 0], atol=1e-12, rtol=0)
    np.testing.assert_allclose(backend.numpy(log_slope)[:, 0], expected[:, 1], atol=1e-12)


@pytest.mark.parametrize("context_dim", [0, 2])
@pytest.mark.parametrize("hidden_dims", [(), (3,), (16, 5, 40)], ids=str)
def test_incremental_inverse_against_one_pass_per_input(backend, hidden_dims, context_dim):
    order = [3, 0, 4, 1, 5, 2]
    for elementwise in (backend.T.AffineMap(), backend.T.RationalQuadraticMap()):
        transform = backend.make(
            backend.T.MaskedAutoregressive, 6, elementwise, hidden_dims, context_dim, order
        )
        transform = backend.perturbed(transform, 0.3)
        y, context = arrays(backend, ON_THE_LINE, 6, context_dim)
        found, _ = backend.apply(transform, "inverse_and_log_det", y, context)

        def one_pass_per_input(transform, y, elementwise=elementwise, context=context):
            x = 0.0 * y
            for _ in range(6):
                x, _ = elementwise.inverse_and_log_det(y, transform.network(x, context))
            return (x,)

        (expected,) = backend.run(one_pass_per_input, transform, y)
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_low_rank_and_lu_against_dense_matrices(backend):
    for build in (backend.T.LowRankAffine, backend.T.LULinear, backend.T.DenseAffine):
        transform = backend.perturbed(backend.make(build, 4), 0.5)
        loc, log_det = backend.apply(transform, "forward_and_log_det", backend.array(np.zeros(4)))
        rows, _ = backend.apply(transform, "forward_and_log_det", backend.array(np.eye(4)))
        matrix = (rows - loc).T
        assert np.linalg.slogdet(matrix)[1] == pytest.approx(log_det, abs=1e-12)
        y = np.arange(4.0)
        found, _ = backend.apply(transform, "inverse_and_log_det", backend.array(y))
        np.testing.assert_allclose(found, np.linalg.solve(matrix, y - loc), atol=1e-12)


BAD_CONFIGURATIONS = {
    "input_dim must be an integer": lambda b: b.make(b.T.Coupling, 2.5),
    "input_dim must be at least 1": lambda b: b.make(b.T.DenseAffine, 0),
    "mask must hold input_dim=3": lambda b: b.make(b.T.Coupling, 3, mask=[True, False]),
    "got all True": lambda b: b.make(b.T.Coupling, 2, mask=[True, True]),
    "mask must be one of": lambda b: b.make(b.T.Coupling, 2, mask="odd"),
    "order must hold each": lambda b: b.make(b.T.MaskedAutoregressive, 3, order=[0, 0, 1]),
    "permutation must hold each": lambda b: b.T.Permutation([1, 2]),
    "rank must be at most": lambda b: b.make(b.T.LowRankAffine, 2, 3),
    "num_bins must be at most 500": lambda b: b.T.RationalQuadraticMap(num_bins=600),
    "bound must be positive": lambda b: b.T.RationalQuadraticMap(bound=-1.0),
    "max_log_scale must be positive": lambda b: b.T.AffineMap(0.0),
    "activation must be one of": lambda b: b.make(b.T.Coupling, 2, activation="sine"),
    "hidden_dims must be a sequence": lambda b: b.make(b.T.Coupling, 2, hidden_dims=8),
    "share one input_dim": lambda b: b.T.Compose([b.T.Flip(2), b.T.Flip(3)]),
    "at least one transform": lambda b: b.T.Compose([]),
    "must hold Transform objects": lambda b: b.T.Compose([b.dist.transforms.ExpTransform()]),
    "share one context_dim": lambda b: b.T.Compose(
        [b.make(b.T.DenseAffine, 2, 1), b.make(b.T.DenseAffine, 2, 2)]
    ),
    "scale must have shape": lambda b: b.T.FixedAffine(b.array(np.zeros(2)), b.array(np.ones(3))),
    "positive diagonal": lambda b: b.T.FixedAffine(
        b.array(np.zeros(2)), b.array(np.array([1.0, -1.0]))
    ),
    "context must be given": lambda b: b.make(b.T.DenseAffine, 2, 3).condition(None),
    "context must have context_dim=3": lambda b: b.make(b.T.DenseAffine, 2, 3).condition(
        b.array(np.zeros(2))
    ),
    "x must have 2 entries": lambda b: b.make(b.T.DenseAffine, 2)(b.array(np.zeros(3))),
}


@pytest.mark.parametrize("rule", BAD_CONFIGURATIONS)
def test_errors_name_the_rule(backend, rule):
    with pytest.raises((ValueError, TypeError), match=rule):
        BAD_CONFIGURATIONS[rule](backend)


def test_error_messages_are_the_same_on_both_hosts(both):
    for build in BAD_CONFIGURATIONS.values():
        messages = []
        for backend in both:
            with pytest.raises((ValueError, TypeError)) as caught:
                build(backend)
            messages.append((caught.type, str(caught.value)))
        if "ExpTransform" not in messages[0][1]:
            assert messages[0] == messages[1]


# Pyro: compilation


# the composed case holds a numerical inverse
ONE_PASS = [case for case in TRANSFORMS if case.covers != "transforms.Compose"]


# the tracer of torch itself instantiates derivative rules
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("case, input_dim, context_dim", journeys(ONE_PASS, [(3, 2)]), ids=str)
def test_torch_compile_captures_the_forward_direction_whole(
    torch_backend, case, input_dim, context_dim
):
    torch = torch_backend.torch
    torch.compiler.reset()
    transform = trained(torch_backend, case, input_dim, context_dim)
    x, context = arrays(torch_backend, case, input_dim, context_dim)
    inverse_is_parallel = getattr(transform, "fast", "both") == "inverse"
    method = "inverse_and_log_det" if inverse_is_parallel else "forward_and_log_det"
    compiled = torch.compile(getattr(transform, method), fullgraph=True, backend="eager")
    with torch.no_grad():
        found = compiled(x, context)
    for a, b in zip(found, torch_backend.apply(transform, method, x, context), strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["Coupling", "LULinear"])
def test_torch_compile_generates_code(torch_backend, name):
    torch = torch_backend.torch
    transform = torch_backend.perturbed(torch_backend.make(getattr(torch_backend.T, name), 3), 0.2)
    x, _ = arrays(torch_backend, ON_THE_LINE, 3, 0)
    compiled = torch.compile(transform.forward_and_log_det, fullgraph=True)
    found = compiled(x)[0].detach().numpy()
    expected = torch_backend.apply(transform, "forward_and_log_det", x)[0]
    np.testing.assert_allclose(found, expected, atol=1e-10)


# NumPyro: pytrees


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, [(3, 2)]), ids=str)
def test_one_trace_for_two_parameter_values(jax_backend, case, input_dim, context_dim):
    jax = jax_backend.jax
    x, context = arrays(jax_backend, case, input_dim, context_dim)
    traces = 0

    def image(transform, x):
        nonlocal traces
        traces += 1
        return transform.condition(context)(x)

    compiled = jax.jit(image)
    for seed in (0, 1):
        transform = jax_backend.perturbed(
            case.build(jax_backend, input_dim, context_dim), 0.2, seed
        )
        expected, _ = jax_backend.apply(transform, "forward_and_log_det", x, context)
        np.testing.assert_allclose(compiled(transform, x), expected, atol=1e-12)
    assert traces == 1
    leaves, treedef = jax.tree.flatten(transform)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert hash(treedef) == hash(jax.tree.structure(copy.deepcopy(transform)))
    rebuilt = jax.tree.unflatten(treedef, leaves)
    assert rebuilt == transform and jax.tree.structure(rebuilt) == treedef


def test_a_transform_passes_through_every_jax_transformation(jax_backend):
    b, jax, jnp = jax_backend, jax_backend.jax, jax_backend.jnp
    build = lambda key: b.T.Coupling(key, 3)  # noqa: E731
    transform = b.perturbed(b.make(b.T.Coupling, 3), 0.2)
    x = jnp.ones(3)
    np.testing.assert_allclose(jax.jit(transform)(x), transform(x))
    np.testing.assert_allclose(jax.jit(lambda t, y: t.inv(y))(transform, x), transform.inv(x))
    carried, stacked = jax.lax.scan(lambda t, _: (t, t), transform, None, length=2)
    np.testing.assert_allclose(carried(x), transform(x))
    np.testing.assert_allclose(jax.vmap(lambda t: t(x))(stacked)[1], transform(x))
    chosen = jax.lax.cond(x[0] > 0, lambda t: t, lambda t: t, transform)
    np.testing.assert_allclose(chosen(x), transform(x))
    many = jax.vmap(build)(jax.random.split(b.key(), 5))
    assert jax.vmap(lambda t: t(x))(many).shape == (5, 3)
    returned = jax.jit(lambda key: build(key))(b.key())
    np.testing.assert_allclose(returned(x), build(b.key())(x))
    gradient = jax.grad(lambda t: t(x).sum())(transform)
    assert jax.tree.structure(gradient) == jax.tree.structure(transform)
    assert jax.jit(lambda s, t: s.eq(t))(transform, copy.deepcopy(transform))
    assert not jax.jit(lambda s, t: s.eq(t))(transform, build(b.key()))
    bound = b.make(b.T.Coupling, 3, context_dim=2).condition(jnp.ones((4, 2)))
    np.testing.assert_allclose(jax.jit(lambda t, x: t(x))(bound, x), bound(x))
    assert bound.forward_shape((3,)) == (4, 3)


def test_a_network_of_a_user_is_split_into_arrays_and_settings(jax_backend):
    import equinox as eqx

    b, jax, jnp = jax_backend, jax_backend.jax, jax_backend.jnp

    class Shift(b.T.Transform):
        def __init__(self, rng_key, input_dim):
            super().__init__(input_dim)
            # its activation is a leaf that is no array
            self.network = eqx.nn.MLP("scalar", input_dim, 4, 1, key=rng_key)

        def forward_and_log_det(self, x, context=None):
            return x + self.network(jnp.ones(())), jnp.zeros(x.shape[:-1])

        def inverse_and_log_det(self, y, context=None):
            return y - self.network(jnp.ones(())), jnp.zeros(y.shape[:-1])

    transform = Shift(b.key(), 3)
    x = jnp.ones((4, 3))
    np.testing.assert_allclose(jax.jit(lambda t, x: t(x))(transform, x), transform(x))
    gradient = jax.grad(lambda t: t(x).sum())(transform)
    assert jnp.abs(gradient.network.layers[0].weight).max() > 0
    params, static = eqx.partition(transform, eqx.is_inexact_array)
    assert eqx.combine(params, static) == transform


@pytest.mark.parametrize("name", ["MaskedAutoregressive", "Planar"])
def test_numerical_inverses_have_second_derivatives_and_map(jax_backend, name):
    b, jax, jnp = jax_backend, jax_backend.jax, jax_backend.jnp
    transform = b.perturbed(b.make(getattr(b.T, name), 3), 0.3)
    y = jnp.array([0.3, -0.7, 1.1])

    def objective(y):
        x, log_det = transform.inverse_and_log_det(y)
        return jnp.sin(x).sum() + log_det

    hessian = jax.jit(jax.hessian(objective))(y)
    step = 1e-5
    gradient = jax.jit(jax.grad(objective))
    differences = [(gradient(y + e) - gradient(y - e)) / (2 * step) for e in step * jnp.eye(3)]
    np.testing.assert_allclose(hessian, jnp.stack(differences), atol=1e-6)
    np.testing.assert_allclose(hessian, jax.jacrev(gradient)(y), atol=1e-9)
    mapped = jax.vmap(gradient)(jnp.stack([y, 2 * y]))
    np.testing.assert_allclose(mapped[1], gradient(2 * y), atol=1e-10)


@pytest.mark.slow
def test_inverse_of_many_inputs_costs_few_passes_and_compiles_once_for_all(jax_backend):
    """The traced program does not grow with the number of inputs."""
    b, jax = jax_backend, jax_backend.jax

    def program_size(input_dim, solver):
        transform = b.make(b.T.MaskedAutoregressive, input_dim, solver=solver)
        y = b.array(np.zeros((2, input_dim)))
        traced = jax.make_jaxpr(lambda t, y: t.inverse_and_log_det(y))(transform, y)
        return str(traced).count("dot_general"), str(traced).count(" = ")

    for solver, small in (("incremental", 8), ("fixed_point", 8), ("auto", 24)):
        assert program_size(40, solver) == program_size(small, solver)
