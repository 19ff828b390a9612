"""Videos: slices and blocks of a grid, the video transformer, and codes of videos."""

import itertools

import numpy as np
import pytest
from scipy.special import erf, logsumexp
from scipy.special import softmax as scipy_softmax

from pyro_deepgen._numerics.subscale import slice_neighbours, slice_places

SIZES = {"hidden_dim": 8, "num_blocks": 2, "num_heads": 2}
BLOCKS = ((2, 2, 2), (1, 3, 1))
# divided by factors and blocks, by neither, and one slice
SHAPES = [
    ((2, 4, 4), (1, 2, 2)),
    ((3, 3, 5), (2, 1, 2)),
    ((3, 2, 3), (1, 1, 1)),
]
GRIDS = pytest.mark.parametrize("grid, factors", SHAPES)


def density(b, event_shape, conditional=None, scale=0.3, **options):
    c = b.load("distributions.conditionals")
    conditional = c.BernoulliConditional() if conditional is None else conditional
    options = {"block_shapes": BLOCKS, **SIZES, **options}
    module = b.make(b.D.video_transformer, event_shape, conditional, **options)
    return b.perturbed(module, scale)


@pytest.mark.parametrize("grid, factors", [((4,), (2,)), ((3, 5), (2, 3)), ((2, 3, 4), (1, 2, 2))])
def test_neighbours_of_a_slice_are_those_of_the_masked_video(grid, factors):
    """The paper's way: hide what is not known yet, then look around each position."""
    offsets = tuple(itertools.product(*((-1, 0, 1) for _ in grid)))
    places, flat = slice_places(grid, factors), np.arange(np.prod(grid)).reshape(grid)
    number = np.zeros(grid, int)
    for i, start in enumerate(itertools.product(*map(range, factors))):
        number[tuple(slice(a, None, s) for a, s in zip(start, factors, strict=True))] = i
    found = {k: slice_neighbours(grid, factors, offsets, k) for k in ("all", "earlier", "own")}
    for i, row in enumerate(places):
        for j, place in enumerate(row):
            for k, offset in enumerate(offsets):
                expected = dict.fromkeys(found, flat.size)
                if place < flat.size:
                    for kind, step in (("all", 1), ("own", factors)):
                        q = np.unravel_index(place, grid) + np.array(offset) * step
                        if (q >= 0).all() and (q < grid).all():
                            expected[kind] = flat[tuple(q)]
                            if kind == "all" and number[tuple(q)] < i:
                                expected["earlier"] = flat[tuple(q)]
                assert {kind: table[i, j, k] for kind, table in found.items()} == expected
    assert sorted(places[places < flat.size]) == list(range(flat.size))


def naive_attention(weights, h, grid, block, num_heads, causal):
    """Attention among all positions, the forbidden ones taken out one pair at a time."""

    def norm(h, name):
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
        return h * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(h, name):
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    places = list(itertools.product(*map(range, grid)))
    parts = np.split(linear(norm(h, "attention_norm"), "attention_in"), 3, -1)
    query, key, value = (p.reshape(len(h), num_heads, -1) for p in parts)
    attended = np.zeros_like(query)
    for head in range(num_heads):
        for i, at in enumerate(places):
            scores = np.full(len(h), -np.inf)
            for j, other in enumerate(places):
                same = all(a // b == o // b for a, o, b in zip(at, other, block, strict=True))
                if same and (j <= i or not causal):
                    scores[j] = query[i, head] @ key[j, head] / np.sqrt(query.shape[-1])
                    for axis, (a, o, b) in enumerate(zip(at, other, block, strict=True)):
                        scores[j] += weights[f"biases.{axis}"][head, a - o + b - 1]
            attended[i, head] = scipy_softmax(scores) @ value[:, head]
    h = h + linear(attended.reshape(h.shape), "attention_out")
    dense = linear(norm(h, "dense_norm"), "dense_in")
    return h + linear(dense * 0.5 * (1.0 + erf(dense / np.sqrt(2.0))), "dense_out")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("block", [(2, 2, 2), (3, 2, 3), (1, 1, 3)])
def test_attention_in_blocks_is_masked_attention(backend, block, causal):
    grid = (3, 2, 3)
    layer = backend.make(backend.nn.BlockLocalAttention, grid, block, 8, 2, causal)
    layer = backend.perturbed(layer, 0.3)
    h = np.random.default_rng(0).standard_normal((2, 1, *grid, 8))
    (found,) = backend.run(lambda h: (layer(h),), backend.array(h))
    weights = backend.named(layer)
    for row, expected in zip(found[:, 0], h[:, 0], strict=True):
        expected = naive_attention(weights, expected.reshape(18, 8), grid, block, 2, causal)
        np.testing.assert_allclose(row.reshape(18, 8), expected, atol=1e-10)


@pytest.mark.compiles
@GRIDS
def test_gradients_reach_what_the_order_allows(backend, grid, factors):
    size = int(np.prod(grid))
    options = {"factors": factors, "block_shapes": BLOCKS, **SIZES}
    network = backend.make(backend.nn.VideoTransformer, grid, 2, **options)
    network = backend.perturbed(network, 0.3)
    x = backend.array(np.random.default_rng(0).standard_normal((1, *grid, 1)))
    method = "forward" if backend.name == "pyro" else "__call__"
    found = backend.jacobian(network, method, x).reshape(size, 2, size)
    order = list(network.orders[0])
    found = np.abs(found).max(1)[order][:, order]
    assert (found[np.triu_indices(size)] == 0.0).all()
    # every position sees something but the first, and is seen but the last
    assert found[1:].any(1).all() and found[:, :-1].any(0).all()


def test_each_position_sees_one_of_every_earlier_slice(torch_backend):
    """The encoder's convolution alone reaches them, whatever the blocks."""
    b, grid, factors = torch_backend, (4, 4, 4), (4, 1, 2)
    options = {"factors": factors, "block_shapes": [(1, 1, 1)], **SIZES, "num_blocks": 1}
    network = b.perturbed(b.make(b.nn.VideoTransformer, grid, 1, **options), 0.3)
    x = b.array(np.random.default_rng(0).standard_normal((1, *grid, 1)))
    found = b.jacobian(network, "forward", x).reshape(64, 64)
    numbers = np.zeros(64, int)
    for i, row in enumerate(slice_places(grid, factors)):
        numbers[row] = i
    for place in range(64):
        seen = {numbers[j] for j in np.flatnonzero(found[place])}
        assert set(range(numbers[place])) <= seen <= set(range(numbers[place] + 1))


@pytest.mark.compiles
@pytest.mark.parametrize("kind", ["vector", "label", "image"])
@GRIDS
def test_steps_agree_with_one_pass(backend, grid, factors, kind):
    c = backend.load("distributions.conditionals").CategoricalConditional(3)
    options = {"factors": factors, "context_dim": 2, "context_kind": kind, "one_hot": True}
    module = density(backend, grid, c, **options)
    context = np.random.default_rng(1).standard_normal((2, 2, *(grid if kind == "image" else ())))
    context = backend.array(np.array([0, 1]) if kind == "label" else context)
    d = module(context)
    x, log_prob = backend.draw_and_score(d, (3,))
    assert x.shape == (3, 2, *grid)
    np.testing.assert_allclose(log_prob, backend.score(d, x), atol=1e-8)
    swapped = backend.score(module(context[np.array([1, 0])]), x)
    assert np.abs(swapped - log_prob).min() > 1e-6


@pytest.mark.compiles
@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 1, 2), (1, 2, 1)])
def test_probabilities_of_all_videos_sum_to_one(backend, factors):
    d = density(backend, (2, 2, 2), factors=factors)()
    table = np.array(list(itertools.product([0, 1], repeat=8))).reshape(-1, 2, 2, 2)
    scores = backend.score(d, table)
    assert scores.std() > 0.1
    np.testing.assert_allclose(logsumexp(scores), 0.0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vector", "image"])
@GRIDS
def test_twins_give_the_same_densities(both, grid, factors, kind, tmp_path):
    rng, scores = np.random.default_rng(0), []
    x = rng.integers(0, 5, (3, *grid))
    context = rng.standard_normal((3, 2, *(grid if kind == "image" else ())))
    for b in both:
        c = b.load("distributions.conditionals").CategoricalConditional(5)
        options = {"factors": factors, "context_dim": 2, "context_kind": kind}
        module = density(b, grid, c, **options)
        if b is both[0]:
            b.io.save(tmp_path / "file", module)
        module = b.io.load(tmp_path / "file", module)
        scores.append(b.score(module(b.array(context)), x))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-10, atol=1e-10)


@pytest.mark.compiles
@pytest.mark.parametrize("factors, is_exact", [((1, 1, 1), True), ((1, 2, 1), False)])
def test_frames_after_given_ones(backend, factors, is_exact):
    b, shape = backend, (3, 2, 2)
    d = density(b, shape, factors=factors, scale=0.5)()
    mask = np.zeros(shape, bool)
    mask[:1] = True
    values = np.ones(shape)
    if b.name == "numpyro":
        drawn = d.sample_given(b.key(), mask, b.array(values), (40,), 5)
    else:
        with b.torch.random.fork_rng():
            b.torch.manual_seed(0)
            drawn = d.sample_given(b.torch.tensor(mask), b.array(values), (40,), 5)
    assert drawn.is_exact is is_exact and (b.numpy(drawn.value)[:, :1] == 1).all()
    rest = np.array(list(itertools.product([0, 1], repeat=8))).reshape(-1, 2, 2, 2)
    table = np.concatenate([np.ones((256, 1, 2, 2)), rest], 1)
    expected, weight = logsumexp(b.score(d, table)), b.numpy(drawn.log_weight)
    if is_exact:
        np.testing.assert_allclose(weight, expected, atol=1e-10)
    else:
        error = np.exp(weight).std() / np.sqrt(40)
        assert weight.std() > 1e-3 and abs(np.exp(weight).mean() - np.exp(expected)) < 5 * error


def test_wrong_sizes_are_refused(backend):
    build, n = backend.make, backend.nn
    cases = [
        ({"factors": (1, 5, 1)}, "factors must hold for every axis"),
        ({"factors": (2, 2)}, "factors must hold for every axis"),
        ({"block_shapes": [(2, 2)]}, "block_shapes must hold shapes of 3 axes"),
        ({"block_shapes": []}, "block_shapes must hold shapes of 3 axes"),
        ({"hidden_dim": 6, "num_heads": 4}, "num_heads must divide hidden_dim=6"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            build(n.VideoTransformer, (2, 4, 4), **options)


# codes

VIDEO, CODES = (1, 3, 6, 5), {"num_codes": 8, "code_dim": 3, "channels": 8, "halvings": (1, 2, 1)}


def pair_of(b, **options):
    options = {**CODES, "num_blocks": 1, **options}
    return b.make(b.load("models").VideoVQVAE, VIDEO, **options)


def videos(b, count: int, seed: int = 0):
    """A bar that moves to the right, one place a frame."""
    starts = np.random.default_rng(seed).integers(0, 5, count)
    columns = (starts[:, None] + np.arange(3)) % 5
    x = (columns[:, :, None] == np.arange(5))[:, None, :, None, :]
    return b.array(np.broadcast_to(x, (count, *VIDEO)).astype(float))


def keys(b, seed: int = 0):
    return (b.key(seed),) if b.name == "numpyro" else ()


@pytest.mark.parametrize("spatial", [(4,), (3, 2), (2, 3, 2)])
def test_codes_of_any_number_of_dimensions(both, spatial):
    rng, dim = np.random.default_rng(0), 1 + len(spatial)
    z, book = rng.standard_normal((5, 3, *spatial)), rng.standard_normal((6, 3))
    rows = np.moveaxis(z, 1, -1)
    codes = ((rows[..., None, :] - book) ** 2).sum(-1).argmin(-1)
    expected = np.moveaxis(book[codes], -1, 1)
    for b in both:
        q = b.D.VectorQuantized(b.array(z), b.array(book), 0.25, 1.0, dim)
        assert tuple(q.batch_shape) == (5,) and tuple(q.event_shape) == (3, *spatial)
        np.testing.assert_array_equal(b.numpy(q.codes), codes)
        np.testing.assert_allclose(b.numpy(q.mean), expected, atol=1e-12)
        penalty = 1.25 * ((z - expected) ** 2).reshape(5, -1).sum(-1)
        np.testing.assert_allclose(b.numpy(q.penalty()), penalty, atol=1e-10)
        assert b.numpy(q.log_prob(q.mean)).tolist() == [0.0] * 5
        logits = np.log(rng.uniform(size=(*spatial, 6)))
        prior = b.dist.Categorical(logits=b.array(logits)).to_event(len(spatial))
        prior = b.D.CodebookPrior(prior, b.array(book))
        assert tuple(prior.event_shape) == (3, *spatial) and prior.support.event_dim == dim
        logits = logits - logsumexp(logits, axis=-1, keepdims=True)
        scores = np.take_along_axis(
            np.broadcast_to(logits, (5, *logits.shape)), codes[..., None], -1
        )
        found = b.numpy(prior.log_prob(q.mean))
        np.testing.assert_allclose(found, scores.reshape(5, -1).sum(-1), atol=1e-10)


@pytest.mark.compiles
@pytest.mark.parametrize("num_heads", [0, 2])
def test_the_bound_is_likelihood_and_prior(backend, num_heads):
    b = backend
    pair, x = b.perturbed(pair_of(b, num_heads=num_heads), 0.1), videos(b, 4)
    codes = pair.codes(x)["z1"]
    assert tuple(codes.shape) == (4, 2, 2, 3)
    (prior,) = pair.generator.priors
    likelihood = pair.likelihood(pair.encode(x))
    expected = b.numpy(likelihood.log_prob(x)) + b.numpy(prior().log_prob(codes))
    np.testing.assert_allclose(b.numpy(pair.bound(x)), expected, rtol=1e-10)
    uniform = pair.with_prior(*keys(b), "uniform")
    expected = b.numpy(likelihood.log_prob(x)) - 12 * np.log(8)
    np.testing.assert_allclose(b.numpy(uniform.bound(x)), expected, rtol=1e-10)


@pytest.mark.slow
def test_twins_of_codes_agree(both, tmp_path):
    found, context = [], np.eye(3)[[0, 2, 1, 1]]
    for b in both:
        pair = b.perturbed(pair_of(b, num_heads=2, context_dim=3), 0.1)
        if b is both[0]:
            b.io.save(tmp_path / "pair", pair)
        pair, x, c = b.io.load(tmp_path / "pair", pair), videos(b, 4), b.array(context)
        terms = [pair.bound(x, c), pair.encode(x, c)["z1"], pair.reconstruct(x, c)]
        found.append([b.numpy(term) for term in terms])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("decay", [None, 0.9])
@pytest.mark.compiles
def test_two_stages_of_training(backend32, decay):
    b, infer = backend32, backend32.load("infer")
    options = {"num_codes": 4, "prior": "uniform", "codebook_decay": decay}
    pair, x = pair_of(b, **options), videos(b, 60)
    pair = pair.restart_dead_codes(*keys(b), x, min_usage=10**6)
    fit_options = {
        **{"batch_size": 20, "learning_rate": 1e-2, "progress": False},
        **{"kwargs": {"size": 60}, "args": (x,)},
    }
    with b.torch.random.fork_rng() if b.name == "pyro" else b.jax.disable_jit(False):
        if b.name == "pyro":
            b.torch.manual_seed(0)
        result = infer.fit(*keys(b), pair.model, pair.guide, 80, **fit_options)
    pair = pair.with_params(result.params) if b.name == "numpyro" else pair
    first = b.numpy(pair.bound(x)).mean()
    # below bits of equal chances, and their codes
    assert first > -(90 + 12) * np.log(2)
    codes = pair.codes(x)["z1"]
    c = b.load("distributions.conditionals").CategoricalConditional(4)
    prior = b.make(b.D.made, (2, 2, 3), c, (32,), one_hot=True)

    def model(codes, size=None):
        module = b.module("prior", prior)
        with b.plate("data", size, subsample_size=len(codes)):
            b.sample("codes", (prior if module is None else module)(), obs=codes)

    host = b.pyro.infer if b.name == "pyro" else b.numpyro.infer
    stage = {**fit_options, "args": (codes,), "loss": host.Trace_ELBO()}
    result = infer.fit(*keys(b), model, lambda *args, **kwargs: None, 80, **stage)
    if b.name == "numpyro":
        import equinox as eqx

        prior = eqx.combine(result.params["prior$params"], prior)
    pair = pair.with_prior(*keys(b), prior)
    assert b.numpy(pair.bound(x)).mean() > first + 2.0
    assert b.numpy(pair.sample(*keys(b), 3)).shape == (3, *VIDEO)
    assert b.numpy(pair.interpolate(x[:2], x[2:4], 3)).shape == (3, 2, *VIDEO)
    assert 1.0 <= pair.perplexity(x)["z1"] <= 4.0


@pytest.mark.compiles
def test_wrong_codes_are_refused(backend):
    b = backend
    models = b.load("models")
    with pytest.raises(ValueError, match="video_shape must be"):
        b.make(models.VideoVQVAE, (1, 8, 8))
    with pytest.raises(ValueError, match="halvings must have one entry"):
        pair_of(b, halvings=(1, 1))
    with pytest.raises(ValueError, match="prior must be one of"):
        pair_of(b, prior="none")
    c = b.load("distributions.conditionals").CategoricalConditional(8)
    prior = b.make(b.D.made, (2, 2, 3), c, (8,), one_hot=True, context_dim=2)
    with pytest.raises(ValueError, match="prior must have no context"):
        pair_of(b, prior=prior)
    with pytest.raises(ValueError, match="prior must have no context"):
        pair_of(b).with_prior(*keys(b), prior)


def test_residual_blocks_of_videos_are_those_of_the_twin(both, tmp_path):
    blocks = [b.make(b.nn.BottleneckBlock, 4, 4, 2, spatial_dims=3) for b in both]
    both[0].io.save(tmp_path / "block", blocks[0])
    blocks[1] = both[1].io.load(tmp_path / "block", blocks[1])
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 3, 5, 4))
    ours, theirs = (b.numpy(f(b.array(x))) for b, f in zip(both, blocks, strict=True))
    np.testing.assert_allclose(theirs, ours, atol=1e-10)
