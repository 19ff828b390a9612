"""PixelCNN++: grids of odd sides, strided parts against loops, steps counted, dropout."""

import numpy as np
import pytest


def conditionals(b):
    return b.load("distributions.conditionals")


def bernoulli(b, event_shape=(2, 3), num_scales=2, **kwargs):
    module = b.make(
        b.D.pixel_cnn_plus_plus,
        event_shape,
        conditionals(b).BernoulliConditional(),
        hidden_dim=3,
        num_blocks=1,
        num_scales=num_scales,
        **kwargs,
    )
    return b.perturbed(module, 0.3)


def bits(rows: int, shape=(2, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (rows, *shape))


@pytest.mark.compiles
@pytest.mark.parametrize("event_shape, num_scales", [((5, 3), 3), ((4, 7), 2), ((1, 3), 3)])
def test_steps_agree_with_one_pass_on_odd_sides(backend, event_shape, num_scales):
    module = bernoulli(backend, event_shape, num_scales, context_dim=2, context_kind="image")
    context = np.random.default_rng(0).standard_normal((2, 2, *event_shape))
    d = module(backend.array(context))
    x, log_prob = backend.draw_and_score(d, (3,))
    np.testing.assert_allclose(log_prob, backend.score(d, x), atol=1e-10)
    # one place of the context matters, also where it is at the end of an odd side
    context[..., -1, -1] += 1.0
    moved = backend.score(module(backend.array(context)), x)
    assert np.abs(moved - log_prob).max() > 1e-6


@pytest.mark.parametrize("sides", [(5, 5), (3, 6)])
@pytest.mark.parametrize("num_scales", [1, 3])
def test_every_earlier_position_and_no_other_is_seen(torch_backend, sides, num_scales):
    b = torch_backend
    network = b.make(
        b.nn.PixelCNNPlusPlus, sides, hidden_dim=4, num_blocks=2, num_scales=num_scales
    )
    network, size = b.perturbed(network, 0.3), sides[0] * sides[1]
    x = np.random.default_rng(0).standard_normal((*sides, 1))
    found = b.torch.autograd.functional.jacobian(
        lambda x: network(x).flatten(), b.array(x)
    ).reshape(size, size)
    assert ((b.numpy(found) != 0.0) == np.tri(size, k=-1, dtype=bool)).all()


def strided(x, weight, bias, offsets):
    """The sum over offsets from every other position, by loops."""
    height, width = x.shape[:2]
    y = np.zeros((-(-height // 2), -(-width // 2), len(bias))) + bias
    for i, j in np.ndindex(*y.shape[:2]):
        for k, (row, column) in enumerate(offsets):
            r, c = 2 * i + row, 2 * j + column
            if 0 <= r < height and 0 <= c < width:
                y[i, j] += weight[:, :, k] @ x[r, c]
    return y


def transposed(x, weight, bias, offsets, sides):
    """Every position spread over its offsets, by loops."""
    y = np.zeros((*sides, len(bias))) + bias
    for i, j in np.ndindex(*x.shape[:2]):
        for k, (row, column) in enumerate(offsets):
            r, c = 2 * i + row, 2 * j + column
            if 0 <= r < sides[0] and 0 <= c < sides[1]:
                y[r, c] += weight[:, :, k] @ x[i, j]
    return y


@pytest.mark.parametrize("columns", [(-1, 0, 1), (-1, 0)])
@pytest.mark.parametrize("sides", [(4, 6), (5, 7), (1, 2)])
def test_strided_convolutions_and_their_transposes(backend, sides, columns):
    b = backend
    rng = np.random.default_rng(0)
    offsets = [(row, column) for row in (-1, 0) for column in columns]
    layer = b.make(b.nn.CausalConv, 2, 3, offsets, stride=2)
    arrays, x = b.named(layer), rng.standard_normal((2, *sides, 2))
    (y,) = b.run(lambda x: (layer(x),), b.array(x))
    expected = [strided(row, arrays["weight"], arrays["bias"], offsets) for row in x]
    np.testing.assert_allclose(y, expected, atol=1e-12)

    mirrored = sorted(-column for column in columns)
    offsets = [(row, column) for row in (0, 1) for column in mirrored]
    layer = b.make(b.load("nn._causal_transpose").CausalTranspose, 2, 3, mirrored)
    arrays, x = b.named(layer), rng.standard_normal((2, *y.shape[1:3], 2))
    (y, odd) = b.run(lambda x: (layer(x, sides), layer.row(x[:, 0], 1, sides[1])), b.array(x))
    weight, bias = arrays["weight"], arrays["bias"]
    expected = [transposed(row, weight, bias, offsets, sides) for row in x]
    np.testing.assert_allclose(y, expected, atol=1e-12)
    expected = [transposed(row, weight, bias, offsets, (2, sides[1]))[1] for row in x]
    np.testing.assert_allclose(odd, expected, atol=1e-12)


def test_sampling_computes_every_feature_once(torch_backend, monkeypatch):
    b = torch_backend
    module = bernoulli(b, (5, 6), num_scales=3)
    network, counts = module.network, {}

    def counting(method):
        plain = getattr(b.nn.CausalConv, method)

        def counted(self, *args):
            counts[id(self)] = counts.get(id(self), 0) + 1
            return plain(self, *args)

        return counted

    for method in ("read", "row"):
        monkeypatch.setattr(b.nn.CausalConv, method, counting(method))
    b.draw(module(), (2,))
    for scale, (rows, columns) in enumerate([(5, 6), (3, 3), (2, 2)]):
        for conv in network.horizontal.convs(scale):
            assert counts[id(conv)] == rows * columns
        for conv in network.vertical.convs(scale):
            assert counts[id(conv)] == rows
        if scale:
            assert counts[id(network.horizontal.shrink[scale - 1])] == rows * columns
            assert counts[id(network.vertical.shrink[scale - 1])] == rows


@pytest.mark.compiles
@pytest.mark.parametrize("event_shape", [(3, 3, 2), (1, 3, 2), (3, 2)])
def test_images_are_mixtures_of_discretised_logistic_variables_by_default(backend, event_shape):
    b = backend
    sizes = {"hidden_dim": 2, "num_blocks": 1, "num_scales": 2}
    module = b.make(b.D.pixel_cnn_plus_plus, event_shape, **sizes)
    channels = 3 if event_shape[0] == 3 and len(event_shape) == 3 else 1
    assert module.conditional == conditionals(b).DiscretizedLogisticMixtureConditional(
        10, 0, 255, channels
    )
    x, log_prob = b.draw_and_score(module(), (4,))
    assert x.shape == (4, *event_shape)
    assert x.min() >= 0 and x.max() <= 255 and (x == x.round()).all()
    np.testing.assert_allclose(log_prob, b.score(module(), x), atol=1e-9)


def test_dropout_is_for_training_alone_in_torch(torch_backend):
    b = torch_backend
    module, x = bernoulli(b, dropout=0.5), bits(4)
    expected = b.score(bernoulli(b)(), x)
    assert np.abs(b.score(module(), x) - b.score(module(), x)).max() > 1e-3
    drawn, log_prob = b.draw_and_score(module())
    module.eval()
    np.testing.assert_array_equal(b.score(module(), x), expected)
    np.testing.assert_allclose(log_prob, b.score(module(), drawn), atol=1e-10)


def real(b, **kwargs):
    sizes = {"hidden_dim": 3, "num_blocks": 1, "num_scales": 2, **kwargs}
    conditional = conditionals(b).NormalConditional(0.1, 1.0)
    return b.perturbed(b.make(b.D.pixel_cnn_plus_plus, (2, 3), conditional, **sizes), 0.3)


def test_a_transform_drops_nothing_and_leaves_the_mode_in_torch(torch_backend):
    b = torch_backend
    module, plain = real(b, dropout=0.5, context_dim=2), real(b, context_dim=2)
    module.network.vertical.eval()
    modes = [part.training for part in module.modules()]
    context = b.array(np.ones(2))
    u = b.array(np.random.default_rng(0).standard_normal((3, 2, 3)))
    transform, expected = (m(context).as_transform() for m in (module, plain))
    for direction in ("forward_and_log_det", "inverse_and_log_det"):
        for _ in range(2):
            found = b.apply(transform, direction, u)
            for one, other in zip(found, b.apply(expected, direction, u), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-10)

    def objective(module, u, context):
        y, log_det = module(context).as_transform().forward_and_log_det(u)
        return y.sin().sum() + log_det.sum()

    named, slopes = b.grads(objective, module, u, context)
    others, its = b.grads(objective, plain, u, context)
    for one, other in zip([*named.values(), *slopes], [*others.values(), *its], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    assert [part.training for part in module.modules()] == modes and any(modes)
    with pytest.raises(ValueError, match="points must have shape"):
        transform.inverse_and_log_det(u[:, :1])
    assert [part.training for part in module.modules()] == modes


@pytest.mark.slow
def test_a_transform_drops_nothing_in_jax(jax_backend):
    b = jax_backend
    module, plain = real(b, dropout=0.5), real(b)
    u = b.array(np.random.default_rng(0).standard_normal((3, 2, 3)))
    transform, expected = module(rng_key=b.key()).as_transform(), plain().as_transform()
    for direction in ("forward_and_log_det", "inverse_and_log_det"):
        found = b.apply(transform, direction, u)
        for one, other in zip(found, b.apply(expected, direction, u), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10)


def test_full_passes_drop_nothing_in_torch(torch_backend):
    from test_autoregressive_orders import stepless

    b = torch_backend
    module = bernoulli(b, dropout=0.5)
    plain = b.D.Autoregressive(stepless(b, module.network), module.conditional, (2, 3))
    with pytest.warns(UserWarning, match="no step"):
        x, log_prob = b.draw_and_score(plain(), (4,))
    assert plain.network.training
    np.testing.assert_allclose(log_prob, b.score(module.eval()(), x), atol=1e-10)


@pytest.mark.slow
def test_dropout_is_for_a_given_key_alone_in_jax(jax_backend):
    b = jax_backend
    module, x = bernoulli(b, dropout=0.5), bits(4)
    expected = b.score(bernoulli(b)(), x)
    np.testing.assert_array_equal(b.score(module(), x), expected)
    d = module(rng_key=b.key(1))
    scores = b.score(d, x)
    np.testing.assert_array_equal(b.score(module(rng_key=b.key(1)), x), scores)
    for other in (expected, b.score(module(rng_key=b.key(2)), x)):
        assert np.abs(scores - other).max() > 1e-3
    np.testing.assert_array_equal(b.score(d.expand((4,)), x), scores)
    # rows drop different units
    same = b.score(d, np.repeat(x[:1], 2, 0))
    assert abs(same[0] - same[1]) > 1e-6
    # samples never drop anything
    drawn, log_prob = b.draw_and_score(d)
    plain, expected = b.draw_and_score(module())
    np.testing.assert_array_equal(drawn, plain)
    np.testing.assert_allclose(log_prob, expected, atol=1e-12)
    np.testing.assert_allclose(log_prob, b.score(module(), drawn), atol=1e-10)
    stacked = b.jax.vmap(lambda key: module(rng_key=key))(b.jax.random.split(b.key(), 4))
    assert len(np.unique(b.score(stacked, np.repeat(x[:1], 4, 0)))) == 4
    with pytest.raises(TypeError, match="rng_key"):
        module(rng_key=3)


def test_dropout_keeps_the_mean_in_jax(jax_backend):
    b = jax_backend
    drop = b.load("nn._shifted_stream").Drop(b.key(), 0.25)
    first, second = (b.numpy(drop(b.jnp.ones(4000))) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 1.0 / 0.75} and (first != second).any()
    assert abs(first.mean() - 1.0) < 5 * np.sqrt(0.25 / 0.75 / 4000)


def test_a_network_without_dropout_needs_no_key(jax_backend):
    b = jax_backend
    conditional = conditionals(b).BernoulliConditional()
    module = b.make(b.D.made, (2, 3), conditional, hidden_dims=(4,))
    x = bits(3)
    np.testing.assert_array_equal(b.score(module(rng_key=b.key()), x), b.score(module(), x))


@pytest.mark.compiles
def test_training_drops_and_evaluation_does_not(backend32):
    b = backend32
    start, x = bernoulli(b, dropout=0.3), b.array(bits(20))
    fit, random = b.load("infer").fit, b.name == "numpyro"

    def model(x, training=False):
        if random:
            module = b.module("density", start)
            density = module(rng_key=b.numpyro.prng_key() if training else None)
        else:
            density = b.module("density", start.train(training))()
        with b.plate("data", len(x)):
            b.sample("x", density, obs=x)

    settings = {"learning_rate": 1e-2, "evaluate_every": 30, "progress": False, "keep": "last"}
    host = b.numpyro if random else b.pyro
    result = fit(
        *([b.key()] if random else []),
        model,
        lambda *args, **kwargs: None,
        60,
        args=(x,),
        kwargs={"training": True},
        held_out_args=(x,),
        loss=host.infer.Trace_ELBO(),
        **settings,
    )
    module = start
    if random:
        import equinox as eqx

        module = eqx.combine(result.params["density$params"], start)
    else:
        module.eval()
    assert result.losses[-10:].mean() < result.losses[:10].mean() - 1.0
    score = -b.score(module(), b.numpy(x)).sum()
    assert result.evaluations[-1][1] == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"grid_shape": (4,)}, "grid_shape must have two axes"),
        ({"dropout": 1.0}, "dropout must be between 0 and 1"),
        ({"dropout": -0.1}, "dropout must be between 0 and 1"),
        ({"num_scales": 0}, "num_scales must be at least 1"),
        ({"num_blocks": 0}, "num_blocks must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(backend, settings, message):
    with pytest.raises(ValueError, match=message):
        backend.make(backend.nn.PixelCNNPlusPlus, **{"grid_shape": (4, 4), **settings})
