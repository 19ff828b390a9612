"""Orders of plain networks, and networks that only know full passes."""

import warnings

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from test_autoregressive import bernoulli, bits, case_of, conditionals

PERMUTED = [3, 0, 2, 1, 5, 4]
compiles = pytest.mark.compiles


def stepless(b, network):
    """A twin of a network without ``step``, of a class of its own."""
    parent = type(network)

    class Stepless(parent):
        @property
        def step(self):
            raise AttributeError("step")

    if b.name == "pyro":
        import copy

        twin = copy.deepcopy(network)
        twin.__class__ = Stepless
        return twin
    import dataclasses

    twin = object.__new__(Stepless)
    for field in dataclasses.fields(network):
        object.__setattr__(twin, field.name, getattr(network, field.name))
    return twin


def without_step(b, module, order=None):
    """The same density, by full passes."""
    return b.D.Autoregressive(
        stepless(b, module.network), module.conditional, module.event_shape, order
    )


@pytest.mark.parametrize(
    "name, order, options",
    [
        ("MADE", "raster", {}),
        ("MADE", [PERMUTED], {}),
        ("MADE", [PERMUTED, "reverse"], {}),
        ("MADE", [PERMUTED, "reverse"], {"context_dim": 2}),
        *(
            pytest.param("PixelCNN", order, options, marks=compiles)
            for order in (PERMUTED, [PERMUTED, "reverse"])
            for options in ({}, {"context_dim": 2}, {"context_dim": 2, "context_kind": "image"})
        ),
        pytest.param("VideoTransformer", None, {"context_dim": 2}, marks=compiles),
    ],
)
def test_full_passes_draw_what_steps_draw(backend, name, order, options):
    b, case = backend, case_of(name)
    orders = {} if order is None else {"order": order}
    module = bernoulli(b, case, scale=0.8, **orders, **options)
    plain = without_step(b, module, order if name == "PixelCNN" else None)
    assert not hasattr(plain.network, "step") and plain.orders == module.orders
    context = None
    if options:
        shape = (2, *module.network.context_shape)
        context = b.array(np.random.default_rng(0).standard_normal(shape))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x, log_prob = b.draw_and_score(plain(context), (20,))
        for index in range(len(plain.orders)):
            one, its = b.draw_and_score(plain(context, order_index=index), (3,))
            np.testing.assert_allclose(
                its, b.score(module(context, order_index=index), one), atol=1e-10
            )
    assert len(caught) == 1 and "Stepless has no step" in str(caught[0].message)
    np.testing.assert_allclose(log_prob, b.score(plain(context), x), atol=1e-10)
    expected, _ = b.draw_and_score(module(context), (20,))
    np.testing.assert_array_equal(x, expected)


def test_full_passes_with_hidden_elements_and_given_entries(backend):
    from test_sample_given import given

    b = backend
    module = bernoulli(b, case_of("MADE"), scale=0.8, order=[PERMUTED])
    plain, keep = without_step(b, module), b.array(np.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0]))
    with pytest.warns(UserWarning, match="no step"):
        x, log_prob = b.draw_and_score(plain(keep=keep), (20,))
    np.testing.assert_allclose(log_prob, b.score(module(keep=keep), x), atol=1e-10)
    mask = np.array([[False, True, False], [True, False, False]])
    found, expected = (given(b, m(), mask, np.ones((2, 3)), (5,), 3) for m in (plain, module))
    np.testing.assert_array_equal(b.numpy(found.value), b.numpy(expected.value))
    np.testing.assert_allclose(b.numpy(found.log_weight), b.numpy(expected.log_weight), atol=1e-10)


def test_the_flow_of_a_network_by_full_passes(backend):
    b, conditional = backend, conditionals(backend).NormalConditional()
    module = b.perturbed(b.make(b.D.made, (4,), conditional, (8,), order=[2, 0, 3, 1]), 0.3)
    plain, u = without_step(b, module), b.array(np.random.default_rng(0).standard_normal((5, 4)))
    with pytest.warns(UserWarning, match="no step"):
        found = b.apply(plain().as_transform(), "forward_and_log_det", u)
    expected = b.apply(module().as_transform(), "forward_and_log_det", u)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_networks_without_step_are_warned_of_once(backend):
    b = backend
    module = bernoulli(b, case_of("MADE"))
    plain = without_step(b, module)
    # another object of the class
    other = b.perturbed(plain, 0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        b.draw(plain(), (2,))
        b.draw(plain(), (3,))
        for density in (plain, other):
            for _ in range(2):
                b.draw(density(), (4,))
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="no step"):
        # and of another class
        b.draw(without_step(b, module)(), (2,))


def test_a_warning_that_is_an_error_is_given_again(torch_backend):
    b = torch_backend
    plain = without_step(b, bernoulli(b, case_of("MADE")))
    for _ in range(2):
        with pytest.raises(UserWarning, match="no step"):
            plain().sample()


def by_hand(b, module, order, x, context) -> np.ndarray:
    """The score from what the network says of positions as they are visited."""
    network, order = module.network, np.asarray(order)
    inputs = x.reshape(len(x), -1)[:, order]
    if context is not None and network.context_kind == "image":
        flat = context.reshape(*context.shape[: -len(network.grid_shape)], -1)
        context = flat[..., order].reshape(context.shape)
    if context is not None:
        context = b.array(np.broadcast_to(context, (len(x), *context.shape[1:])).copy())
    rows = b.array(inputs.reshape(len(x), *network.grid_shape, 1))
    (params,) = b.run(lambda x, c: (network(x, c),), rows, context)
    logits = params.reshape(inputs.shape)
    return -np.logaddexp(0.0, np.where(inputs == 1, -logits, logits)).sum(-1)


@pytest.mark.parametrize(
    "name, kind",
    [
        ("WaveNet", "image"),
        *(
            pytest.param(name, kind, marks=compiles)
            for name, kind in [
                ("WaveNet", None),
                *(("PixelCNN", kind) for kind in (None, "image")),
                *(("GatedPixelCNN", kind) for kind in (None, "image")),
            ]
        ),
    ],
)
def test_plain_networks_in_subscale_order_and_in_several(backend, name, kind):
    b, orders = backend, [backend.D.subscale_order((2, 3), (1, 2)), "reverse", PERMUTED]
    options = {} if kind is None else {"context_dim": 2, "context_kind": kind}
    values, context = bits((2, 3)), None
    module = bernoulli(b, case_of(name), scale=0.6, order=orders, **options)
    if kind is not None:
        shape = (1, *module.network.context_shape)
        context = np.random.default_rng(0).standard_normal(shape)
    of_context = None if context is None else b.array(context)
    assert module.orders[0] == (0, 2, 3, 5, 1, 4)
    parts = []
    for index, order in enumerate(module.orders):
        d = module(of_context, order_index=index)
        parts.append(b.score(d, values))
        np.testing.assert_allclose(parts[-1], by_hand(b, module, order, values, context), atol=1e-9)
        np.testing.assert_allclose(logsumexp(parts[-1]), 0.0, atol=1e-10)
    assert np.abs(parts[0] - parts[1]).max() > 1e-3 < np.abs(parts[0] - parts[2]).max()
    whole = b.score(module(of_context), values)
    np.testing.assert_allclose(whole, logsumexp(parts, axis=0) - np.log(3), atol=1e-10)
    x, log_prob = b.draw_and_score(module(of_context), (5,))
    np.testing.assert_allclose(log_prob, b.score(module(of_context), x), atol=1e-10)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("name", ["MADE", pytest.param("PixelCNN", marks=compiles)])
def test_256_levels_one_position_after_another(backend, name, one_hot):
    """Against a pass for each position, in which it and the later ones hold something else."""
    b, order = backend, [2, 0, 3, 1]
    conditional = conditionals(b).CategoricalConditional(256)
    module = case_of(name).distribution(b, (2, 2), conditional, order=order, one_hot=one_hot)
    module = b.perturbed(module, 0.3)
    network, rng = module.network, np.random.default_rng(0)
    # the last image in all levels of the position that is visited last
    x = np.concatenate([rng.integers(0, 256, (3, 4)), np.repeat([[7, 255, 0, 128]], 256, 0)])
    x[3:, order[-1]] = np.arange(256)
    places = order if name == "MADE" else range(4)
    total, terms = 0.0, []
    for rank, place in enumerate(order):
        unknown = rng.integers(0, 256, x.shape)
        unknown[:, order[:rank]] = x[:, order[:rank]]
        inputs = unknown if name == "MADE" else unknown[:, order]
        inputs = np.eye(256)[inputs] if one_hot else (inputs / 127.5 - 1.0)[..., None]
        inputs = b.array(inputs.reshape(len(x), *network.grid_shape, -1))
        (params,) = b.run(lambda x: (network(x),), inputs)
        logits = params.reshape(len(x), 4, 256)[:, places[rank]]
        terms.append(log_softmax(logits, -1)[np.arange(len(x)), x[:, place]])
        total = total + terms[-1]
    scores = b.score(module(), x.reshape(-1, 2, 2))
    np.testing.assert_allclose(scores, total, atol=1e-9)
    assert np.ptp(scores) > 0.1
    # of the last position alone the probabilities sum to one
    earlier = sum(terms[:-1])[3]
    np.testing.assert_allclose(logsumexp(scores[3:]), earlier, atol=1e-9)
    draws, log_prob = b.draw_and_score(module(), (50,))
    assert draws.min() >= 0 and draws.max() <= 255 and (draws == draws.round()).all()
    assert len(np.unique(draws)) > 60
    np.testing.assert_allclose(log_prob, b.score(module(), draws), atol=1e-9)
