"""What autoregressive distributions refuse, alike on both hosts, and what they take."""

import numpy as np
import pytest
from registry_autoregressive import NETWORKS
from test_autoregressive import CASES, case_of, conditionals

RECIPES = [case.recipe for case in NETWORKS]


def made(b, event_shape=(2, 3), **kwargs):
    return b.make(b.D.made, event_shape, conditionals(b).BernoulliConditional(), (8,), **kwargs)


def refused(b, errors: list) -> list[str]:
    """The messages of calls that raise, each with the expected kind and words."""
    messages = []
    for call, kind, match in errors:
        with pytest.raises(kind, match=match) as caught:
            call(b)
        messages.append(str(caught.value))
    return messages


def check_twins(both, errors: list) -> None:
    theirs, ours = (refused(b, errors) for b in both)
    assert theirs == ours


def test_values_of_another_layout_are_refused_alike(both):
    check_twins(
        both,
        [
            (lambda b: made(b)().log_prob(b.array(np.zeros((3, 2)))), ValueError, "event_shape"),
            (lambda b: made(b)().log_prob(b.array(np.zeros(3))), ValueError, "event_shape"),
            (
                lambda b: made(b, context_dim=2)(b.array(np.zeros((4, 2)))).log_prob(
                    b.array(np.zeros((5, 2, 3)))
                ),
                ValueError,
                r"broadcast with \(4,\), got shape \(5, 2, 3\)",
            ),
        ],
    )


def test_values_of_another_layout_are_refused_without_validation_and_under_jit(both):
    for b in both:
        d = b.D.AutoregressiveDistribution(made(b), validate_args=False)
        with pytest.raises(ValueError, match=r"value must have shape \(...\) \+ \(2, 3\)"):
            d.log_prob(b.array(np.zeros((3, 2))))
        with pytest.raises(ValueError, match=r"value must have shape \(...\) \+ \(2, 3\)"):
            b.score(d, np.zeros((3, 2)))


def test_orders_are_those_of_the_network_or_those_given(both):
    def given(b, network, order):
        conditional = conditionals(b).BernoulliConditional()
        return b.D.Autoregressive(network, conditional, (2, 3), order=order)

    check_twins(
        both,
        [
            (lambda b: given(b, b.make(b.nn.MADE, 6), "reverse"), ValueError, "order must be None"),
            (lambda b: given(b, b.make(b.nn.MADE, 6), "raster"), ValueError, "order must be None"),
            (
                lambda b: given(
                    b, b.make(b.nn.VideoTransformer, (2, 3), hidden_dim=4, num_heads=1), [0, 1]
                ),
                ValueError,
                "order must be None for VideoTransformer",
            ),
        ],
    )
    for b in both:
        assert given(b, b.make(b.nn.MADE, 6, order="reverse"), None).orders == ((5, 4, 3, 2, 1, 0),)
        plain = b.make(b.nn.PixelCNN, (2, 3), hidden_dim=2, num_blocks=1)
        assert given(b, plain, None).orders == ((0, 1, 2, 3, 4, 5),)
        assert given(b, plain, "reverse").orders == ((5, 4, 3, 2, 1, 0),)


def test_places_of_orders_are_checked(both):
    def video(b):
        conditional = conditionals(b).BernoulliConditional()
        return case_of("VideoTransformer").distribution(b, (2, 3), conditional)

    def several(b):
        return made(b, order=["raster", "reverse"])

    check_twins(
        both,
        [
            (lambda b: made(b)(order_index=7), ValueError, "below 1, the number of orders, got 7"),
            (lambda b: video(b)(order_index=7), ValueError, "below 1, the number of orders"),
            (lambda b: several(b)(order_index=2), ValueError, "below 2, the number of orders"),
            (lambda b: several(b)(order_index=-1), ValueError, "at least 0"),
            (lambda b: several(b)(order_index=0.5), TypeError, "must be an integer or None"),
            (lambda b: several(b)(order_index=True), TypeError, "must be an integer or None"),
        ],
    )
    for b in both:
        x = np.ones((2, 3))
        place = b.torch.tensor(1) if b.name == "pyro" else b.jnp.asarray(1)
        expected = b.score(several(b)(order_index=1), x)
        assert b.score(several(b)(order_index=place), x) == expected
        with pytest.raises(ValueError, match="below 2"):
            several(b)(order_index=place + 1)


def test_a_traced_place_is_for_networks_with_orders(jax_backend):
    b = jax_backend
    module, x = made(b, order=["raster", "reverse"]), b.array(np.ones((2, 3)))
    scores = b.jax.jit(b.jax.vmap(lambda i: module(order_index=i).log_prob(x)))(b.jnp.arange(2))
    np.testing.assert_allclose(scores, [b.score(module(order_index=i), x) for i in (0, 1)])
    conditional = conditionals(b).BernoulliConditional()
    plain = case_of("PixelCNN").distribution(b, (2, 3), conditional)
    with pytest.raises(TypeError, match="order_index must have a known value"):
        b.jax.jit(lambda i: plain(order_index=i).log_prob(x))(0)


def test_contexts_are_checked_when_they_are_given(both):
    def of(kind, *shape):
        def call(b):
            conditional = conditionals(b).BernoulliConditional()
            sizes = {"context_dim": 2, "context_kind": kind}
            module = case_of("PixelCNN").distribution(b, (2, 3), conditional, **sizes)
            return module(b.array(np.zeros(shape)))

        return call

    check_twins(
        both,
        [
            (of("vector", 3), ValueError, r"context must have shape \(...\) \+ \(2,\)"),
            (of("vector"), ValueError, r"context must have shape \(...\) \+ \(2,\)"),
            (of("image", 2), ValueError, r"context must have shape \(...\) \+ \(2, 2, 3\)"),
            (of("image", 5, 2, 3, 2), ValueError, r"got \(5, 2, 3, 2\)"),
            (lambda b: made(b, context_dim=2)(), ValueError, "context must be given"),
            (lambda b: made(b)(b.array(np.zeros(2))), ValueError, "context must be None"),
            (
                lambda b: made(b, context_dim=2)(
                    b.array(np.zeros((3, 2))), keep=b.array(np.ones((4, 6)))
                ),
                ValueError,
                r"context and keep must have batch shapes that broadcast",
            ),
        ],
    )


@pytest.mark.parametrize("kind", ["vector", "image"])
def test_contexts_are_cast_to_the_precision_of_the_network(backend32, kind):
    b = backend32
    module = b.perturbed(made(b, context_dim=2, context_kind=kind), 0.3)
    x = np.ones((2, 3))
    values = np.random.default_rng(0).integers(-3, 4, module.network.context_shape)
    expected = b.score(module(b.array(values)), x)
    for dtype in (np.int64, np.float64, np.float16):
        as_array = b.torch.tensor if b.name == "pyro" else b.jnp.asarray
        context = as_array(values.astype(dtype))
        assert b.score(module(context), x) == expected
        draws, log_prob = b.draw_and_score(module(context), (3,))
        assert log_prob.dtype == np.float32 and draws.shape == (3, 2, 3)
    assert b.score(module(values.tolist()), x) == expected


def test_the_network_gives_the_precision_in_doubles_too(both):
    """A context in double precision does not make single precision double."""
    for b in both:
        with b.precision(32):
            module = made(b, context_dim=2)
        with b.precision(64):
            d = module(b.array(np.ones(2)))
            assert d.context.dtype == (b.torch if b.name == "pyro" else b.jnp).float32
            assert b.score(d, np.ones((2, 3), np.float32)) < 0.0


def test_batch_shapes_that_do_not_fit_are_refused_alike(both):
    def expanded(*shape):
        return lambda b: made(b, context_dim=2)(b.array(np.zeros((3, 2)))).expand(shape)

    check_twins(
        both,
        [
            (expanded(*shape), ValueError, r"batch_shape must be one to which \(3,\) broadcasts")
            for shape in [(4,), (1,), (), (3, 1)]
        ],
    )
    for b in both:
        assert tuple(expanded(2, 3)(b).batch_shape) == (2, 3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_refuse_what_is_no_shape_or_conditional(both, recipe):
    def built(event_shape, conditional=None):
        def call(b):
            c = conditionals(b)
            known = {"bits": c.BernoulliConditional(), "word": "bernoulli"}
            known["colours"] = c.DiscretizedLogisticMixtureConditional(2, 0, 3, channels=3)
            return b.make(getattr(b.D, recipe), event_shape, known[conditional])

        return call

    errors = [
        (built((4, 4), "word"), TypeError, "conditional must be a Conditional, got 'bernoulli'"),
        (built(5, "bits"), TypeError, "event_shape must be a sequence of positive integers, got 5"),
        (built((0, 3), "bits"), ValueError, r"event_shape\[0\] must be at least 1"),
        (built((4, 4), "colours"), ValueError, r"event_shape must be \(3,\), that of the cond"),
    ]
    if recipe not in ("made", "wavenet"):
        # whose positions have no axes of their own
        errors.append((built((), "bits"), ValueError, "at least one axis"))
    check_twins(both, errors)


def test_a_pixel_vae_refuses_what_is_no_conditional(both):
    def call(b):
        return b.make(b.load("models").pixel_vae, (1, 8, 8), conditional="bernoulli")

    check_twins(both, [(call, TypeError, "conditional must be a Conditional")])


@pytest.mark.parametrize("kind", ["vector", "label", "image"])
@CASES
def test_empty_batches(backend, case, kind):
    b, options = backend, {"context_dim": 2, "context_kind": kind}
    conditional = conditionals(b).CategoricalConditional(3)
    module = case.distribution(b, (2, 3), conditional, **options)
    shape = tuple(module.network.context_shape)
    none, one = (module(b.array(np.zeros((n, *shape)))) for n in (0, 1))
    assert b.draw(none).shape == (0, 2, 3) and b.draw(none, (4,)).shape == (4, 0, 2, 3)
    assert b.draw(one, (0,)).shape == (0, 1, 2, 3)
    assert b.draw(none).dtype == b.draw(one, (0,)).dtype
    for d, x, expected in [
        (none, (2, 3), (0,)),
        (none, (5, 0, 2, 3), (5, 0)),
        (none, (1, 2, 3), (0,)),
        (one, (0, 1, 2, 3), (0, 1)),
        (one, (0, 2, 3), (0,)),
    ]:
        assert b.score(d, np.zeros(x)).shape == expected
    network = module.network
    x = np.zeros((0, *network.grid_shape, network.in_channels))
    (params,) = b.run(lambda x, c: (network(x, c),), b.array(x), none.context)
    assert params.shape == (0, *network.grid_shape, 3)


def test_empty_batches_of_several_orders_of_channels_and_given_entries(backend):
    from test_sample_given import given

    b, c = backend, conditionals(backend)
    colours = c.DiscretizedLogisticMixtureConditional(2, 0, 3, channels=3)
    for conditional, event_shape in ((colours, (3, 2)), (c.BernoulliConditional(), (2,))):
        sizes = {"hidden_dims": (4,), "order": ["raster", "reverse"], "context_dim": 2}
        module = b.make(b.D.made, event_shape, conditional, **sizes)
        d = module(b.array(np.zeros((0, 2))))
        assert b.draw(d, (3,)).shape == (3, 0, *event_shape)
        assert b.score(d, np.zeros(event_shape)).shape == (0,)
        drawn = given(b, d, np.ones(event_shape, bool), np.zeros(event_shape), (3,), 4)
        assert drawn.value.shape == (3, 0, *event_shape) and drawn.log_weight.shape == (3, 0)


def test_empty_batches_of_transforms(backend):
    b, c = backend, conditionals(backend)
    for conditional, shape in ((c.NormalConditional(), (3,)), (c.StudentTConditional(), (3,))):
        module = b.make(b.D.made, shape, conditional, (4,), context_dim=2)
        none, one = (module(b.array(np.zeros((n, 2)))) for n in (0, 1))
        for direction in ("forward_and_log_det", "inverse_and_log_det"):
            for d, x in ((none, (3,)), (none, (0, 3)), (one, (0, 3))):
                y, log_det = b.apply(d.as_transform(), direction, b.array(np.zeros(x)))
                assert y.shape == (0, 3) and log_det.shape == (0,)


def test_gradients_of_an_empty_batch_are_zero(backend):
    module, x = made(backend), backend.array(np.zeros((0, 2, 3)))
    named, (slope,) = backend.grads(lambda m, x: m().log_prob(x).sum(), module, x)
    assert slope.shape == (0, 2, 3) and all((g == 0.0).all() for g in named.values())
