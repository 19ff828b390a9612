"""Autoregressive networks as distributions: causality, steps, normalisation, orders, clamping."""

import itertools

import numpy as np
import pytest
from registry_autoregressive import NETWORKS
from scipy.special import logsumexp

CASES = pytest.mark.parametrize("case", NETWORKS, ids=str)


def bits(shape) -> np.ndarray:
    """All arrays of bits of a shape."""
    size = int(np.prod(shape))
    return np.array(list(itertools.product([0, 1], repeat=size))).reshape(-1, *shape)


def conditionals(b):
    return b.load("distributions.conditionals")


def bernoulli(b, case, event_shape=(2, 3), scale=0.3, **kwargs):
    module = case.distribution(b, event_shape, conditionals(b).BernoulliConditional(), **kwargs)
    return b.perturbed(module, scale)


def jacobian(b, fn, x) -> np.ndarray:
    """The derivatives of a function of one array, by the host."""
    if b.name == "numpyro":
        return b.numpy(b.jax.jit(b.jax.jacrev(fn))(x))
    return b.numpy(b.torch.autograd.functional.jacobian(fn, x))


def dependence(b, network, size: int, **known) -> np.ndarray:
    """Which parameters (rows) have a derivative other than exactly zero in which positions.

    Both are in the order in which they are visited.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, *network.grid_shape, network.in_channels))
    slopes = jacobian(b, lambda x: network(x, **known).sum(0), b.array(x))
    slopes = slopes.reshape(size, -1, 4, size, network.in_channels)
    seen = (slopes != 0.0).any((1, 2, 4))
    order = list(getattr(network, "orders", [range(size)])[known.get("order_index", 0)])
    return seen[order][:, order]


def case_of(name: str):
    return next(case for case in NETWORKS if case.name == name)


@CASES
def test_networks_move_as_modules_of_torch_do(torch_backend, case):
    module = bernoulli(torch_backend, case)
    x = module().sample((3,))
    expected = module().log_prob(x).detach()
    found = module.float()().log_prob(x.float()).detach()
    assert found.dtype == torch_backend.torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@CASES
def test_parameters_see_the_earlier_positions_alone(backend, case):
    network = backend.perturbed(case.build(backend, (3, 4), 2, in_channels=2), 0.3)
    seen = dependence(backend, network, 12)
    assert not np.triu(seen).any()
    assert seen[1:].any(1).all() and seen[:, :-1].any(0).all()


def test_in_each_order_of_a_masked_network_all_earlier_positions_are_seen(backend):
    orders = ["raster", "reverse", "random", [3, 0, 2, 1, 5, 4]]
    network = backend.make(backend.nn.MADE, 6, 2, (40,), 2, order=orders, direct=False)
    network = backend.perturbed(network, 0.3)
    for index in range(len(orders)):
        seen = dependence(backend, network, 6, order_index=index)
        assert (seen == np.tri(6, k=-1, dtype=bool)).all()


@pytest.mark.compiles
@pytest.mark.parametrize("order", ["reverse", "snake", "random"])
@pytest.mark.parametrize("name", ["PixelCNN", "GatedPixelCNN"])
def test_a_network_under_another_order_sees_what_was_visited(backend, name, order):
    """By the noise of the values, which is triangular in the order."""
    conditional = conditionals(backend).NormalConditional()
    module = case_of(name).distribution(backend, (3, 3), conditional, order=order)
    flow = backend.perturbed(module, 0.3)().as_transform()
    x = backend.array(np.random.default_rng(0).standard_normal((4, 3, 3)))
    slopes = jacobian(backend, lambda x: flow.inverse_and_log_det(x)[0].sum(0), x)
    seen = (slopes.reshape(9, 4, 9) != 0.0).any(1)
    order = list(module.orders[0])
    seen = seen[order][:, order]
    assert not np.triu(seen, 1).any() and seen.diagonal().all()
    assert seen[1:, :-1][np.tri(8, dtype=bool)].mean() > 0.5


@CASES
def test_probabilities_sum_to_one_and_steps_agree_with_one_pass(backend, case):
    module = bernoulli(backend, case, context_dim=2)
    context = backend.array(np.random.default_rng(1).standard_normal((2, 2)))
    d = module(context)
    assert tuple(d.batch_shape) == (2,) and tuple(d.event_shape) == (2, 3)
    scores = backend.score(d, bits((2, 3))[:, None])
    np.testing.assert_allclose(logsumexp(scores, axis=0), 0.0, atol=1e-10)
    assert np.abs(scores[:, 0] - scores[:, 1]).max() > 1e-3
    x, log_prob = backend.draw_and_score(d, (5,))
    assert x.shape == (5, 2, 2, 3)
    np.testing.assert_allclose(log_prob, backend.score(d, x), atol=1e-10)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.slow) if c.cost else c for c in NETWORKS],
    ids=str,
)
def test_twins_agree(both, case, tmp_path):
    theirs, ours = both
    conditional = conditionals(theirs).CategoricalConditional(5)
    module = theirs.perturbed(case.distribution(theirs, (4, 3), conditional, context_dim=2), 0.2)
    theirs.io.save(tmp_path / "file", module)
    conditional = conditionals(ours).CategoricalConditional(5)
    other = ours.io.load(
        tmp_path / "file", case.distribution(ours, (4, 3), conditional, context_dim=2)
    )
    rng = np.random.default_rng(3)
    x, context = rng.integers(0, 5, (6, 4, 3)), rng.standard_normal((6, 2))
    scores = [b.score(m(b.array(context)), x) for b, m in ((theirs, module), (ours, other))]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-10, atol=1e-10)


@pytest.mark.compiles
@pytest.mark.parametrize("name", ["PixelCNN", "GatedPixelCNN"])
def test_learned_positions_are_known_and_steps_agree(backend, name):
    module = bernoulli(backend, case_of(name), (3, 4), learned_positions=True)
    x, log_prob = backend.draw_and_score(module(), (5,))
    np.testing.assert_allclose(log_prob, backend.score(module(), x), atol=1e-10)
    # parameters far from every edge and from all that is not zero differ by their place alone
    b, places = backend, {}
    for learned in (True, False):
        network = case_of(name).build(b, (17, 17), learned_positions=learned, kernel_size=3)
        network = b.perturbed(network, 0.3)
        params = b.numpy(network(b.array(np.zeros((17, 17, 1)))))
        places[learned] = abs(params[8, 8] - params[8, 9])
    assert places[True] > 1e-3 and places[False] < 1e-12


@pytest.mark.parametrize("name", ["PixelCNN", "GatedPixelCNN"])
def test_twins_agree_on_learned_positions(both, name, tmp_path):
    theirs, ours = both
    module = bernoulli(theirs, case_of(name), learned_positions=True)
    theirs.io.save(tmp_path / "file", module)
    other = bernoulli(ours, case_of(name), learned_positions=True)
    other = ours.io.load(tmp_path / "file", other)
    assert ours.named(other)["network.positions"].shape[:2] == (2, 3)
    scores = [b.score(m(), bits((2, 3))) for b, m in ((theirs, module), (ours, other))]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-10)


def test_activations_of_a_pixel_cnn_on_both_twins(both, tmp_path):
    theirs, ours = both
    module = theirs.perturbed(bernoulli(theirs, case_of("PixelCNN"), activation="silu"), 0.3)
    theirs.io.save(tmp_path / "file", module)
    others = {}
    for activation in ("silu", "relu"):
        other = bernoulli(ours, case_of("PixelCNN"), activation=activation)
        others[activation] = ours.io.load(tmp_path / "file", other)
    scores = {name: ours.score(other(), bits((2, 3))) for name, other in others.items()}
    expected = theirs.score(module(), bits((2, 3)))
    np.testing.assert_allclose(scores["silu"], expected, rtol=1e-10)
    assert abs(scores["relu"] - expected).max() > 1e-3
    for b, m in ((theirs, module), (ours, others["silu"])):
        x, log_prob = b.draw_and_score(m(), (5,))
        np.testing.assert_allclose(log_prob, b.score(m(), x), atol=1e-10)
        with pytest.raises(ValueError, match="activation"):
            bernoulli(b, case_of("PixelCNN"), activation="step")


@pytest.mark.compiles
@pytest.mark.parametrize("name", ["MADE", "PixelCNN"])
def test_several_orders_are_a_mixture_of_probabilities(backend, name):
    module = bernoulli(backend, case_of(name), order=["raster", "reverse", [3, 0, 2, 1, 5, 4]])
    values = bits((2, 3))
    whole = backend.score(module(), values)
    parts = [backend.score(module(order_index=i), values) for i in range(3)]
    assert np.abs(parts[0] - parts[1]).max() > 1e-3
    np.testing.assert_allclose(whole, logsumexp(parts, axis=0) - np.log(3), atol=1e-10)
    np.testing.assert_allclose(logsumexp(whole), 0.0, atol=1e-10)
    draws = backend.draw(module(), (3000,))
    counts = np.bincount(draws.reshape(3000, 6).astype(int) @ 2 ** np.arange(6)[::-1], minlength=64)
    error = np.sqrt(np.exp(whole) / 3000)
    assert np.abs(counts / 3000 - np.exp(whole)).max() < 5 * error.max()


@pytest.mark.compiles
def test_channels_come_first(backend):
    conditional = conditionals(backend).DiscretizedLogisticMixtureConditional(2, 0, 3, channels=3)
    module = case_of("PixelCNN").distribution(backend, (3, 2, 2), conditional)
    d = module()
    x, log_prob = backend.draw_and_score(d, (4,))
    assert x.shape == (4, 3, 2, 2) and x.min() >= 0 and x.max() <= 3
    np.testing.assert_allclose(log_prob, backend.score(d, x), atol=1e-10)


@pytest.mark.compiles
def test_real_values(backend):
    conditional = conditionals(backend).NormalConditional()
    d = case_of("MADE").distribution(backend, (3,), conditional)()
    x, log_prob = backend.draw_and_score(d, (4,))
    np.testing.assert_allclose(log_prob, backend.score(d, x), atol=1e-8)


def digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().images[:100].astype(int)


def entropy_of_positions(x) -> float:
    """The mean cost, in nats, of the data under independent positions, each with its own shares.

    It is the least that a network can reach on its training data if it ignores its inputs.
    """
    shares = (x.reshape(len(x), -1, 1) == np.arange(17)).mean(0)
    return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum()


def train_on_digits(b, case, num_steps: int, **known) -> float:
    """The mean cost of digits in training, in nats, after some steps."""
    conditional = conditionals(b).CategoricalConditional(17)
    sizes = {} if case.name == "MADE" else {"hidden_dim": 8}
    start = case.distribution(b, (8, 8), conditional, one_hot=True, **sizes)
    x = b.array(digits())

    def model():
        module = b.module("flow", start)
        with b.plate("data", 100):
            b.sample("x", (start if module is None else module)(**known), obs=x)

    return b.fit(model, lambda: None, start, num_steps, 2e-2)[1][-1] / 100


QUICK = ("MADE", "PixelCNN", "RowLSTM", "CausalTransformer")


@pytest.mark.parametrize(
    "case",
    [c if c.name in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in NETWORKS],
    ids=str,
)
def test_training_on_digits(backend32, case):
    cost = train_on_digits(backend32, case, num_steps=100)
    assert cost < entropy_of_positions(digits()) - 5.0


def test_a_network_that_is_given_nothing_does_not_get_below_independent_positions(torch_backend):
    """The bound of the test above is one."""
    keep = torch_backend.torch.zeros(64, dtype=bool)
    cost = train_on_digits(torch_backend, case_of("MADE"), 100, keep=keep)
    bound = entropy_of_positions(digits())
    assert bound < cost < bound + 5.0


@pytest.mark.slow
def test_derivatives_of_the_density_of_a_sample_are_those_of_one_pass(jax_backend):
    b = jax_backend
    module = bernoulli(b, case_of("PixelCNN"), context_dim=2)
    context = b.array(np.ones(2))

    def from_sample(context):
        d = module(context)
        x, intermediates = d.sample_with_intermediates(b.key())
        return d.log_prob(x, intermediates)

    x = module(context).sample(b.key())
    expected = b.jax.jit(b.jax.grad(lambda c: module(c).log_prob(x)))(context)
    np.testing.assert_allclose(b.jax.jit(b.jax.grad(from_sample))(context), expected, atol=1e-10)


def test_orders(backend):
    d = backend.D
    assert d.raster_order((2, 2)) == (0, 1, 2, 3) == d.reverse_order((2, 2))[::-1]
    assert sorted(d.random_order((3, 3), seed=1)) == list(range(9))
    assert d.snake_order((3, 2)) == (0, 1, 3, 2, 4, 5)
    assert d.subscale_order((2, 2, 2), (2, 1, 1)) == (0, 1, 2, 3, 4, 5, 6, 7)
    assert d.subscale_order((3, 2), (2, 1)) == (0, 1, 4, 5, 2, 3)
    with pytest.raises(ValueError, match="factors"):
        d.subscale_order((3, 2), (4, 1))
    # every random one of a list is another
    module = backend.make(
        *(d.made, (2, 3), conditionals(backend).BernoulliConditional(), (4,)),
        order=["raster", "random", [3, 0, 2, 1, 5, 4], "random", "random"],
    )
    random = [module.orders[i] for i in (1, 3, 4)]
    assert random == [d.random_order((6,), seed) for seed in range(3)] and len(set(random)) == 3


def test_shapes_that_do_not_fit_are_refused(backend):
    c = conditionals(backend)
    network = case_of("MADE").build(backend, (4,), 1)
    with pytest.raises(ValueError, match="event_shape"):
        backend.D.Autoregressive(network, c.BernoulliConditional(), (5,))
    with pytest.raises(ValueError, match="num_params=3"):
        backend.D.Autoregressive(network, c.CategoricalConditional(3), (4,))
    network = case_of("MADE").build(backend, (4,), 3, in_channels=2)
    with pytest.raises(ValueError, match="in_channels=1 or 3"):
        backend.D.Autoregressive(network, c.CategoricalConditional(3), (4,))
    module = bernoulli(backend, case_of("MADE"), context_dim=2)
    with pytest.raises(ValueError, match="context must be given"):
        module()
