"""Codebooks as moving averages, contexts of hierarchical pairs, and priors of codes."""

import numpy as np
import pytest
from test_hierarchical import CASES, DENSE, bits, build, host_elbo, keys, loss_of


def one_hot(num_rows: int, dim: int = 3) -> np.ndarray:
    return np.eye(dim)[np.arange(num_rows) % dim]


def changed(book, method: str, *args):
    """The codebook after a call, in place or not."""
    found = getattr(book, method)(*args)
    return book if found is None else found


def test_moving_averages_are_ratios_of_sums_and_counts(backend):
    b, rng, decay = backend, np.random.default_rng(0), 0.8
    book = b.make(b.nn.Codebook, 4, 2, decay=decay)
    # van den Oord et al. 2017, eq. 6-8, as they stand
    sums, counts = b.numpy(book.weight).copy(), np.ones(4)
    untouched = sums[3].copy()
    for _ in range(5):
        inputs, codes = rng.standard_normal((20, 2)), rng.integers(0, 3, 20)
        before = b.numpy(book.weight).copy()
        given = codes if b.name == "numpyro" else b.torch.as_tensor(codes)
        book = changed(book, "observe", b.array(inputs), given)
        np.testing.assert_array_equal(b.numpy(book.weight), before)
        book = changed(book, "refresh")
        for k in range(4):
            sums[k] = decay * sums[k] + (1 - decay) * inputs[codes == k].sum(0)
            counts[k] = decay * counts[k] + (1 - decay) * (codes == k).sum()
        np.testing.assert_allclose(b.numpy(book.weight), sums / counts[:, None], rtol=1e-12)
    np.testing.assert_array_equal(b.numpy(book.weight)[3], untouched)
    with pytest.raises(ValueError, match="decay must be between 0 and 1"):
        b.make(b.nn.Codebook, 4, 2, decay=1.5)


def nearest(rows: np.ndarray, book: np.ndarray) -> np.ndarray:
    return ((rows[:, None] - book) ** 2).sum(-1).argmin(-1)


@pytest.mark.compiles
@pytest.mark.parametrize("bound", ["Trace_ELBO", "BetaELBO"])
def test_steps_move_the_codebook_and_evaluation_does_not(backend, bound):
    b, decay, num_steps = backend, 0.9, 3
    pair = build(b, "VQVAE", codebook_decay=decay)
    x = bits(b, "VQVAE", 12)
    rows = b.numpy(pair._inputs(x)["z1"])
    rows = np.moveaxis(rows, 1, -1).reshape(-1, rows.shape[1])
    book = b.numpy(pair.generator.codebooks[0].weight).copy()
    # what the next step sees, by hand; the networks stand still at a rate of zero
    ahead, size = book.copy(), np.ones(len(book))
    # NumPyro's start of the training is a run too
    for _ in range(num_steps + (b.name == "numpyro")):
        book = ahead.copy()
        codes = nearest(rows, book)
        count = np.bincount(codes, minlength=len(book))
        total = np.stack([rows[codes == k].sum(0) for k in range(len(book))])
        size = decay * size + (1 - decay) * count
        ahead = ahead + (1 - decay) * (total - count[:, None] * ahead) / size[:, None]
    elbo = host_elbo(b, bound) if bound == "Trace_ELBO" else b.load("infer").BetaELBO()
    if b.name == "pyro":
        svi = b.pyro.infer.SVI(pair.model, pair.guide, b.pyro.optim.SGD({"lr": 0.0}), elbo)
        for _ in range(num_steps):
            svi.step(x)
            svi.evaluate_loss(x)
        before = pair.generator.codebooks[0].ahead.clone()
        svi.evaluate_loss(x)
        np.testing.assert_array_equal(pair.generator.codebooks[0].ahead, before)
        pair.generator.codebooks[0].weight.copy_(b.array(book))
    else:
        svi = b.numpyro.infer.SVI(pair.model, pair.guide, b.numpyro.optim.SGD(0.0), elbo)
        state = svi.init(b.key(), x)
        update = b.jax.jit(svi.update)
        for _ in range(num_steps):
            state, _ = update(state, x)
        pair = pair.with_params({**svi.get_params(state), **state.mutable_state})
    found = pair.generator.codebooks[0]
    np.testing.assert_allclose(b.numpy(found.weight), book, rtol=1e-8)
    np.testing.assert_allclose(b.numpy(found.ahead), ahead, rtol=1e-8)
    np.testing.assert_allclose(b.numpy(found.size), size, rtol=1e-8)


@pytest.mark.compiles
def test_moving_averages_train_and_quantise_better(backend32):
    b, infer = backend32, backend32.load("infer")
    pair, x = build(b, "VQVAE", codebook_decay=0.9), bits(b, "VQVAE", 300)
    before = b.numpy(pair.generator.codebooks[0].weight).copy()
    with b.torch.random.fork_rng() if b.name == "pyro" else b.jax.disable_jit(False):
        if b.name == "pyro":
            b.torch.manual_seed(0)
        result = infer.fit(
            *keys(b),
            pair.model,
            pair.guide,
            40,
            args=(x,),
            kwargs={"size": len(x)},
            batch_size=60,
            held_out_args=(x[:50],),
            evaluate_every=10,
            loss=infer.BetaELBO(),
            learning_rate=3e-3,
            progress=False,
        )
    if b.name == "numpyro":
        pair = pair.with_params(result.params)
    assert result.losses[-5:].mean() < result.losses[:5].mean()
    book = pair.generator.codebooks[0]
    assert np.abs(b.numpy(book.weight) - before).max() > 1e-2
    rows = b.numpy(pair._inputs(x)["z1"])
    rows = np.moveaxis(rows, 1, -1).reshape(-1, 3)

    def distance(vectors):
        return ((rows - vectors[nearest(rows, vectors)]) ** 2).sum(-1).mean()

    assert distance(b.numpy(book.weight)) < 0.5 * distance(before)
    moved = pair.restart_dead_codes(*keys(b), x, min_usage=10**6)
    sizes = b.numpy(moved.generator.codebooks[0].size)
    np.testing.assert_array_equal(sizes, 1.0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.compiles
def test_twins_agree_given_a_context(both, name, tmp_path):
    pairs = [build(b, name, context_dim=3) for b in both]
    pairs[0] = both[0].perturbed(pairs[0], 0.1)
    both[0].io.save(tmp_path / "pair", pairs[0])
    pairs[1] = both[1].io.load(tmp_path / "pair", pairs[1])
    found = []
    for b, pair in zip(both, pairs, strict=True):
        x, context = bits(b, name, 4), b.array(one_hot(4))
        codes = pair.encode(x, context)
        top = pair.generator.sites[0]
        scores = b.numpy(pair.likelihood(codes, context).log_prob(x))
        others = b.numpy(pair.likelihood(codes, context[np.array([1, 2, 0, 1])]).log_prob(x))
        assert np.abs(scores - others).max() > 1e-3
        prior = b.numpy(pair.prior(context).log_prob(codes[top]))
        assert prior.shape == (4,)
        found.append([b.numpy(codes[top]), scores, prior])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-10)


@pytest.mark.compiles
@pytest.mark.parametrize("name", CASES)
def test_a_pair_is_of_use_given_a_context(backend, name):
    b, infer = backend, backend.load("infer")
    pair = b.perturbed(build(b, name, context_dim=3), 0.1)
    x, context = bits(b, name, 6), b.array(one_hot(6))
    two = loss_of(b, host_elbo(b, "Trace_ELBO"), pair, x, context=context, size=24)
    one = loss_of(b, infer.BetaELBO(), pair, x, context=context, size=24)
    assert one == pytest.approx(two, rel=1e-9)
    assert abs(one - loss_of(b, infer.BetaELBO(), pair, x, context=1 - context, size=24)) > 1e-3
    assert b.numpy(pair.sample(*keys(b), 6, context)).shape == tuple(x.shape)
    assert b.numpy(pair.sample(*keys(b), 2, context[0])).shape == (2, *x.shape[1:])
    assert b.numpy(pair.reconstruct(x, context)).shape == tuple(x.shape)
    ways = pair.interpolate(x[:2], x[2:4], 5, context=context[:2])
    assert b.numpy(ways).shape == (5, 2, *x.shape[1:])
    if name not in DENSE and name.startswith("VQ"):
        bound = b.numpy(pair.bound(x, context))
        codes = pair.codes(x, context)["z1"]
        assert bound.shape == (6,) and codes.shape == (6, 4, 4)


def pixel_priors(b, code_dim: int, context_dim: int):
    """Gated PixelCNN priors of two levels of codes: of the lower level given the upper one."""
    conditional = b.load("distributions.conditionals").CategoricalConditional(8)
    options = {"hidden_dim": 4, "num_blocks": 1, "one_hot": True}
    lower = b.make(
        b.D.gated_pixel_cnn,
        (4, 4),
        conditional,
        context_dim=code_dim + context_dim,
        context_kind="image",
        **options,
    )
    upper = b.make(b.D.gated_pixel_cnn, (2, 2), conditional, context_dim=context_dim, **options)
    return [lower, upper]


@pytest.mark.compiles
@pytest.mark.parametrize("context_dim", [0, 3])
def test_two_conditioned_pixel_cnn_priors(backend, context_dim):
    b, infer = backend, backend.load("infer")
    priors = pixel_priors(b, 3, context_dim)
    pair = build(b, "VQVAE2", priors=priors, context_dim=context_dim)
    pair = b.perturbed(pair, 0.1)
    x = bits(b, "VQVAE2", 5)
    context = b.array(one_hot(5)) if context_dim else None
    bound = b.numpy(pair.bound(x, context))
    loss = loss_of(b, infer.BetaELBO(), pair, x, context=context)
    assert loss == pytest.approx(-bound.sum(), rel=1e-9)
    # the density of the codes, by hand
    vectors, codes = pair.encode(x, context), pair.codes(x, context)
    above = np.repeat(np.repeat(b.numpy(vectors["z2"]), 2, axis=-2), 2, axis=-1)
    if context_dim:
        tiled = np.broadcast_to(one_hot(5)[..., None, None], (5, 3, 4, 4))
        above = np.concatenate([above, tiled], axis=1)
    lower, upper = pair.generator.priors
    by_hand = b.score(lower(b.array(above)), b.numpy(codes["z1"]))
    by_hand = by_hand + b.score(upper(context), b.numpy(codes["z2"]))
    likelihood = b.numpy(pair.likelihood(vectors, context).log_prob(x))
    np.testing.assert_allclose(by_hand + likelihood, bound, rtol=1e-9)
    draws = b.numpy(pair.sample(*keys(b), 5, context))
    assert draws.shape == (5, 1, 8, 8) and set(np.unique(draws)) <= {0.0, 1.0}


@pytest.mark.compiles
@pytest.mark.parametrize("context_dim", [0, 3])
def test_priors_of_a_second_stage(backend, context_dim):
    """What each prior is trained on, and the bound of the pair that is given them."""
    b = backend
    pair = b.perturbed(build(b, "VQVAE2", context_dim=context_dim), 0.1)
    priors = [b.perturbed(prior, 0.3) for prior in pixel_priors(b, 3, context_dim)]
    x, context = bits(b, "VQVAE2", 5), b.array(one_hot(5)) if context_dim else None
    before, vectors = pair.bound(x, context), pair.encode(x, context)
    pair = pair.with_priors(priors)
    data = pair.prior_data(x, context)
    assert list(data) == ["z2", "z1"]
    total = b.numpy(pair.likelihood(vectors, context).log_prob(x))
    for name, prior in zip(("z1", "z2"), priors, strict=True):
        codes, given = data[name]
        np.testing.assert_array_equal(b.numpy(codes), b.numpy(pair.codes(x, context)[name]))
        assert (given is None) == (name == "z2" and not context_dim)
        total = total + b.score(prior(given), b.numpy(codes))
    np.testing.assert_allclose(b.numpy(pair.bound(x, context)), total, rtol=1e-9)
    assert not np.allclose(b.numpy(before), total)
    with pytest.raises(ValueError, match="priors must be one for each of 2 levels, got 1; pass"):
        pair.with_priors(priors[:1])
    with pytest.raises(ValueError, match=r"priors\[0\] must have no context"):
        pair.with_priors(pixel_priors(b, 4, context_dim))


def test_priors_with_another_context_are_refused(torch_backend):
    b = torch_backend
    lower, upper = pixel_priors(b, 5, 0)
    with pytest.raises(ValueError, match=r"priors\[0\] must have no context, one of kind 'vector'"):
        build(b, "VQVAE2", priors=[lower, upper])
    lower, upper = pixel_priors(b, 3, 2)
    with pytest.raises(ValueError, match=r"priors\[0\] must have no context"):
        build(b, "VQVAE2", priors=[lower, upper])
