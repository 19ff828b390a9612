"""What single transforms and maps promise beyond the laws of all."""

import numpy as np
import pytest
from registry import MAPS

NUMERICAL = [
    case
    for case in MAPS
    if case.covers.endswith(("LogisticMap", "SigmoidalMap", "SquaresMap", "MonotonicMap"))
]


@pytest.mark.parametrize("case", NUMERICAL, ids=str)
@pytest.mark.compiles
def test_numerical_inverses_far_out_against_bisection(backend, case):
    elementwise = case.build(backend, 0, 0)
    rng = np.random.default_rng(0)
    params = backend.array(rng.standard_normal((elementwise.num_params, 1)))
    y = np.array([[-1e6], [-1e3], [-40.0], [0.0], [2.0], [1e3], [1e6]])

    def image(x):
        return backend.numpy(elementwise.forward_and_log_det(backend.array(x), params)[0])

    lower, upper = np.full_like(y, -1e10), np.full_like(y, 1e10)
    for _ in range(120):
        middle = 0.5 * (lower + upper)
        above = image(middle) > y
        lower, upper = np.where(above, lower, middle), np.where(above, middle, upper)
    found, _ = elementwise.inverse_and_log_det(backend.array(y), params)
    np.testing.assert_allclose(backend.numpy(found), lower, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["BoundedSpline", "CircularSpline"])
def test_splines_of_an_interval_map_it_onto_itself(backend, name):
    spline = backend.perturbed(backend.make(getattr(backend.T, name), 1, 4, 2.0), 1.0)
    x = np.linspace(-2.0, 2.0, 4001)[:-1, None]
    y, log_det = backend.apply(spline, "forward_and_log_det", backend.array(x))
    assert y.min() >= -2.0 and y.max() <= 2.0
    # the image has the length of the interval, and every part of it is met
    assert np.exp(log_det).mean() * 4.0 == pytest.approx(4.0, rel=1e-3)
    assert np.diff(np.sort(y[:, 0])).max() < 0.1
    d = backend.dist
    ends = backend.array(np.full(1, -2.0)), backend.array(np.full(1, 2.0))
    pushed = d.TransformedDistribution(d.Uniform(*ends).to_event(1), [spline.condition(None)])
    assert np.exp(backend.score(pushed, x)).mean() * 4.0 == pytest.approx(1.0, abs=2e-3)


def test_a_circular_spline_is_periodic_and_smooth_at_the_seam(backend):
    spline = backend.perturbed(backend.make(backend.T.CircularSpline, 2, 4, 2.0), 1.0)
    x = np.array([[-1.999999, 1.999999], [0.3, -0.7]])
    y, log_det = backend.apply(spline, "forward_and_log_det", backend.array(x))
    for turns in (-3, 1):
        turned, of_turned = backend.apply(
            spline, "forward_and_log_det", backend.array(x + 4.0 * turns)
        )
        np.testing.assert_allclose(turned, y, atol=1e-12)
        np.testing.assert_allclose(of_turned, log_det, atol=1e-12)
    one, at_one = backend.apply(spline, "forward_and_log_det", backend.array(np.full(2, 2 - 1e-9)))
    other, at_other = backend.apply(
        spline, "forward_and_log_det", backend.array(np.full(2, 1e-9 - 2))
    )
    np.testing.assert_allclose(at_one, at_other, atol=1e-6)
    np.testing.assert_allclose(np.sin(np.pi * (one - other) / 4.0), 0.0, atol=1e-6)


def test_a_bounded_spline_is_the_identity_outside(backend):
    spline = backend.perturbed(backend.make(backend.T.BoundedSpline, 2, 4, 2.0), 1.0)
    x = np.array([[-1e6, 2.5], [-2.0, 2.0]])
    y, log_det = backend.apply(spline, "forward_and_log_det", backend.array(x))
    np.testing.assert_allclose(y, x, atol=1e-12)
    assert log_det[0] == 0.0


@pytest.mark.parametrize("inverse", [False, True])
def test_actnorm_starts_by_standardising_a_batch(backend, inverse):
    batch = backend.array(np.random.default_rng(1).standard_normal((50, 3)) * 4.0 - 2.0)
    layer = backend.make(backend.T.ActNorm, 3).initialize(batch, inverse=inverse)
    method = "inverse_and_log_det" if inverse else "forward_and_log_det"
    image, _ = backend.apply(layer, method, batch)
    np.testing.assert_allclose(image.mean(0), 0.0, atol=1e-10)
    np.testing.assert_allclose(image.std(0), 1.0, atol=1e-10)


def test_actnorm_sets_itself_in_the_first_training_call_alone(torch_backend):
    batch = torch_backend.array(np.random.default_rng(1).standard_normal((50, 2)) + 5.0)
    evaluated = torch_backend.make(torch_backend.T.ActNorm, 2).eval()
    assert (evaluated(batch) == batch).all()
    layer = evaluated.train()
    first = layer(batch)
    np.testing.assert_allclose(torch_backend.numpy(first.mean(0)), 0.0, atol=1e-10)
    np.testing.assert_allclose(torch_backend.numpy(layer(batch + 1.0) - first), 1.0, atol=0.5)


def test_batchnorm_moves_its_statistics_in_update_alone(backend):
    rng = np.random.default_rng(2)
    batch = backend.array(rng.standard_normal((50, 2)) * 3.0 + 1.0)
    layer = backend.make(backend.T.BatchNorm, 2)
    before, _ = backend.apply(layer, "forward_and_log_det", batch)
    again, _ = backend.apply(layer, "forward_and_log_det", batch)
    np.testing.assert_array_equal(before, again)
    half = layer.update(batch, momentum=0.5)
    mean = backend.named(half)["mean"]
    np.testing.assert_allclose(mean, 0.5 * backend.numpy(batch).mean(0), atol=1e-12)
    full = half.update(batch, momentum=1.0)
    image, _ = backend.apply(full, "forward_and_log_det", batch)
    np.testing.assert_allclose(image.mean(0), 0.0, atol=1e-10)
    np.testing.assert_allclose(image.std(0), 1.0, atol=1e-10)


def test_rotations_and_reflections_keep_distances(backend):
    x = np.random.default_rng(3).standard_normal((6, 4))
    for build in (backend.T.Rotation, backend.T.Householder):
        transform = backend.perturbed(backend.make(build, 4), 1.0)
        y, _ = backend.apply(transform, "forward_and_log_det", backend.array(x))
        norms = np.linalg.norm(x, axis=-1)
        np.testing.assert_allclose(np.linalg.norm(y, axis=-1), norms, rtol=1e-10)
        assert np.abs(y - x).max() > 1e-2


@pytest.mark.parametrize("constraint", ["positive", "ordered_vector"])
def test_a_flow_has_the_support_of_its_last_transform(backend, constraint):
    b = backend
    support = getattr(b.dist.constraints, constraint)
    flow = b.D.Flow(b.D.StandardNormal(2), [b.make(b.T.DenseAffine, 2), b.T.ToSupport(support, 2)])
    draws = b.draw(flow(), (100,))
    accepted = (draws > 0).all() if constraint == "positive" else (np.diff(draws) > 0).all()
    assert accepted and flow().support.event_dim == 1
    normal = b.dist.Normal(b.array(0.0), 1.0)
    if constraint == "positive":
        expected = b.numpy(normal.log_prob(b.array(np.log(draws)))) - np.log(draws)
        np.testing.assert_allclose(b.score(flow(), draws), expected.sum(-1), atol=1e-9)


ALTERNATING = ("alternate", "alternate_flipped")


@pytest.mark.parametrize(
    "masks, count",
    [(("alternate",), count) for count in (1, 3, 4, 5)] + [(ALTERNATING, c) for c in (3, 4, 5)],
)
def test_a_scan_equals_the_plain_sequence(both, masks, count):
    """Of one structure and of two that alternate, with and without layers behind the last period"""
    for b in both:
        layers = [
            b.make(b.T.Coupling, 3, mask=masks[i % len(masks)], hidden_dims=(8,), context_dim=2)
            for i in range(count)
        ]
        layers = [b.perturbed(layer, 0.3, seed) for seed, layer in enumerate(layers)]
        scan, plain = b.T.Scan(layers), b.T.Compose(layers)
        assert set(b.named(scan)) == set(b.named(plain))
        x, context = b.array(np.ones((4, 3))), b.array(np.ones(2))
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            for found, expected in zip(
                b.apply(scan, method, x, context), b.apply(plain, method, x, context), strict=True
            ):
                np.testing.assert_allclose(found, expected, atol=1e-12)


def _alternating_layers(b, kind, count):
    """Layers that are alike up to the order of their inputs."""
    if kind in ("alternate", "half"):
        masks = (kind, f"{kind}_flipped")
        return [b.make(b.T.Coupling, 4, mask=masks[i % 2], context_dim=2) for i in range(count)]
    orders = ([0, 2, 1, 3], [3, 1, 2, 0]) if kind == "permuted" else ("natural", "reversed")
    hidden_dims = () if kind == "linear" else (8, 8)
    return [
        b.T.Inverse(
            b.make(
                b.T.MaskedAutoregressive,
                4,
                order=orders[i % 2],
                hidden_dims=hidden_dims,
                context_dim=2,
            )
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [3, 6])
@pytest.mark.parametrize("kind", ["alternate", "half", "natural", "permuted", "linear"])
def test_a_scan_of_layers_that_differ_in_order_has_one_body(both, kind, count):
    rng = np.random.default_rng(0)
    for b in both:
        layers = [
            b.perturbed(layer, 0.3, seed)
            for seed, layer in enumerate(_alternating_layers(b, kind, count))
        ]
        scan, plain = b.T.Scan(layers), b.T.Compose(layers)
        if hasattr(scan, "stacked"):
            assert (len(scan.stacked), len(scan.rest)) == (1, 0)
        named, expected = b.named(scan), b.named(plain)
        assert set(named) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(named[name], values)
        x, context = b.array(rng.standard_normal((6, 4))), b.array(rng.standard_normal((6, 2)))
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            for found, value in zip(
                b.apply(scan, method, x, context), b.apply(plain, method, x, context), strict=True
            ):
                np.testing.assert_allclose(found, value, atol=1e-10)


def test_couplings_in_a_row_equal_couplings_one_by_one(both):
    """Parts are kept apart between couplings, across a change of the partition and a context"""
    masks = ["alternate", "alternate", "alternate_flipped", "half", "half_flipped", "half"]
    rng = np.random.default_rng(1)
    for b in both:
        layers = [
            b.perturbed(b.make(b.T.Coupling, 5, mask=mask, context_dim=2 * (i % 2)), 0.3, i)
            for i, mask in enumerate(masks)
        ]
        layers.insert(2, b.T.Flip(5))
        layers[3] = b.T.Inverse(layers[3])
        x, context = b.array(rng.standard_normal(5)), b.array(rng.standard_normal((3, 2)))
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            value, total = x, 0.0
            for layer in layers if method.startswith("forward") else layers[::-1]:
                value, log_det = b.apply(
                    layer, method, b.array(value), context if layer.context_dim else None
                )
                total = total + log_det
            found = b.apply(b.T.Compose(layers), method, x, context)
            np.testing.assert_allclose(found[0], value, atol=1e-12)
            np.testing.assert_allclose(found[1], total, atol=1e-12)


BAD_CONFIGURATIONS = {
    "rank must be at most": lambda b: b.make(b.T.Sylvester, 2, 3),
    "kind must be one of": lambda b: b.make(b.T.Sylvester, 2, kind="dense"),
    "constraint must keep the number": lambda b: b.T.ToSupport(b.dist.constraints.simplex, 2),
    "transforms must have one structure": lambda b: b.T.Scan(
        [b.T.Flip(2), b.T.Permutation([0, 1])]
    ),
    "num_components must be at least 1": lambda b: b.T.MixtureLogisticMap(0),
    "degree must be at least 1": lambda b: b.T.SumOfSquaresMap(degree=0),
    "tails must be one of": lambda b: b.T.RationalQuadraticMap(tails="free"),
    "x must hold at least two points": lambda b: b.make(b.T.ActNorm, 2).initialize(
        b.array(np.ones((1, 2)))
    ),
    "momentum must be": lambda b: b.make(b.T.BatchNorm, 2).update(b.array(np.ones((3, 2))), 2.0),
    "flows must be at least one": lambda b: b.make(b.D.MixtureFlow, []),
}


@pytest.mark.parametrize("rule", BAD_CONFIGURATIONS)
def test_errors_name_the_rule_alike_on_both_hosts(both, rule):
    messages = []
    for backend in both:
        with pytest.raises(ValueError, match=rule) as caught:
            BAD_CONFIGURATIONS[rule](backend)
        messages.append(str(caught.value))
    if "constraint" not in rule:
        assert messages[0] == messages[1]
