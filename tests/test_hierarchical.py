"""Hierarchies of latent variables: single runs, twins, training, and codes."""

import numpy as np
import pytest
from registry_models import digits

PAIRS = {
    "LadderVAE": ((8, 8), (6, 3), (16, 8)),
    "BidirectionalVAE": ((8, 8), (4, 3, 2), (16, 8, 8)),
    "NVAE": ((1, 8, 8), 6, 2, (0, 1, 1)),
    "VeryDeepVAE": ((1, 8, 8), 8, 2, (0, 1, 1)),
    "VQVAE": ((1, 8, 8), 8, 3, 6, 1),
    "VQVAE2": ((1, 8, 8), 8, 3, 6, 1),
}
DENSE = ("LadderVAE", "BidirectionalVAE")
QUICK = ["LadderVAE", "VQVAE"]
CASES = [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PAIRS]


def build(backend, name, **options):
    return backend.make(getattr(backend.load("models"), name), *PAIRS[name], **options)


def bits(backend, name, num_rows=None):
    x = digits("bits", num_rows)
    return backend.array(x if name in DENSE else x[:, None])


def keys(backend):
    return (backend.key(),) if backend.name == "numpyro" else ()


def loss_of(backend, elbo, pair, *args, guide=None, **kwargs) -> float:
    guide = pair.guide if guide is None else guide
    if backend.name == "numpyro":
        key = backend.key()
        run = backend.jax.jit(lambda x: elbo.loss(key, {}, pair.model, guide, x, **kwargs))
        return float(run(*args))
    with backend.torch.random.fork_rng():
        backend.torch.manual_seed(0)
        return float(elbo.differentiable_loss(pair.model, guide, *args, **kwargs).detach())


def host_elbo(backend, name):
    module = backend.pyro.infer if backend.name == "pyro" else backend.numpyro.infer
    return getattr(module, name)()


@pytest.mark.compiles
@pytest.mark.parametrize("name", CASES)
def test_one_run_gives_the_loss_of_two(backend, name):
    infer = backend.load("infer")
    pair = backend.perturbed(build(backend, name), 0.05)
    x, kwargs = bits(backend, name, 5), {"size": 20}
    two = loss_of(backend, host_elbo(backend, "Trace_ELBO"), pair, x, **kwargs)
    for elbo in (infer.BetaELBO(), infer.IWELBO(1)):
        assert loss_of(backend, elbo, pair, x, **kwargs) == pytest.approx(two, rel=1e-9)
    if name in ("LadderVAE", "NVAE", "VeryDeepVAE"):
        two = loss_of(backend, host_elbo(backend, "TraceMeanField_ELBO"), pair, x, **kwargs)
        one = loss_of(backend, infer.BetaELBO(analytic=True), pair, x, **kwargs)
        assert one == pytest.approx(two, rel=1e-9)


def test_the_bound_of_two_runs_written_out(torch_backend):
    b = torch_backend
    pair = b.perturbed(build(b, "LadderVAE"), 0.05)
    x = bits(b, "LadderVAE", 5)
    with b.torch.random.fork_rng():
        b.torch.manual_seed(0)
        guide = b.pyro.poutine.trace(pair.guide).get_trace(x)
    values = {n: guide.nodes[n]["value"] for n in ("z1", "z2")}
    model = b.pyro.poutine.trace(b.pyro.condition(pair.model, values)).get_trace(x)
    latent = sum(guide.nodes[n]["fn"].log_prob(values[n]).sum() for n in values)
    expected = float((latent - model.log_prob_sum()).detach())
    assert loss_of(b, b.load("infer").BetaELBO(), pair, x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.compiles
def test_closed_forms_need_one_order(backend):
    models, infer = backend.load("models"), backend.load("infer")
    pair = backend.make(models.stacked_vae, (8, 8), (4, 2), ((8,), (8,)))
    with pytest.raises(ValueError, match="one order for analytic=True"):
        loss_of(backend, infer.BetaELBO(analytic=True), pair, bits(backend, "LadderVAE", 3))


@pytest.mark.slow
def test_free_nats_by_group_and_bounds_of_many_particles(backend):
    infer = backend.load("infer")
    for name in ("LadderVAE", "BidirectionalVAE"):
        pair, x = backend.perturbed(build(backend, name), 0.05), bits(backend, name, 4)
        plain = loss_of(backend, infer.BetaELBO(), pair, x)
        assert loss_of(backend, infer.BetaELBO(free_bits={"z1": 50.0}), pair, x) > plain
        five = loss_of(backend, infer.IWELBO(5), pair, x)
        assert loss_of(backend, infer.IWELBO(20, chunk=10), pair, x) < five + 20
    with pytest.raises(ValueError, match="gradient must be 'plain'"):
        loss_of(backend, infer.IWELBO(3, gradient="dreg"), pair, x)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.compiles
def test_twins_give_the_same_densities(both, name, tmp_path):
    pairs = [build(backend, name) for backend in both]
    pairs[0] = both[0].perturbed(pairs[0], 0.05)
    both[0].io.save(tmp_path / "pair", pairs[0])
    pairs[1] = both[1].io.load(tmp_path / "pair", pairs[1])
    found = []
    for backend, pair in zip(both, pairs, strict=True):
        x = bits(backend, name, 3)
        codes = pair.encode(x)
        top = pair.generator.sites[0]
        terms = [
            *(codes[site] for site in pair.generator.sites),
            pair.posterior(x).log_prob(codes[top]),
            pair.prior().log_prob(codes[top]),
            pair.likelihood(codes).log_prob(x),
        ]
        found.append([backend.numpy(term) for term in terms])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-10)


@pytest.mark.compiles
@pytest.mark.parametrize("name", CASES)
def test_a_pair_trains_on_digits_and_is_of_use(backend32, name):
    b, infer = backend32, backend32.load("infer")
    pair, x = build(b, name), bits(b, name)
    analytic = name in ("LadderVAE", "NVAE", "VeryDeepVAE")
    options = {
        "kwargs": {"size": len(x)},
        "batch_size": 60,
        "loss": infer.BetaELBO(analytic=analytic),
        "learning_rate": 3e-3,
        "progress": False,
    }
    with b.torch.random.fork_rng() if b.name == "pyro" else b.jax.disable_jit(False):
        if b.name == "pyro":
            b.torch.manual_seed(0)
        result = infer.fit(*keys(b), pair.model, pair.guide, 50, args=(x,), **options)
    if b.name == "numpyro":
        pair = pair.with_params(result.params)
    losses = np.asarray(result.losses) / len(x)
    first, last = losses[:10], losses[-10:]
    error = np.hypot(first.std(), last.std()) / 10**0.5
    assert np.isfinite(losses).all() and first.mean() - last.mean() > 4 * error
    draws = b.numpy(pair.sample(*keys(b), 4))
    assert draws.shape == (4, *x.shape[1:]) and set(np.unique(draws)) <= {0.0, 1.0}
    assert b.numpy(pair.sample(*keys(b), 2, mean=True, temperature=0.5)).shape[0] == 2
    means = b.numpy(pair.reconstruct(x[:4]))
    assert means.shape == (4, *x.shape[1:]) and (means >= 0).all() and (means <= 1).all()
    assert b.numpy(pair.interpolate(x[:2], x[2:4], 5)).shape == (5, 2, *x.shape[1:])
    if name.startswith("VQ"):
        assert all(1.0 <= value <= 8.0 for value in pair.perplexity(x).values())


def test_the_residual_divergence_is_that_of_normals(backend):
    kl = (
        backend.torch.distributions.kl_divergence
        if backend.name == "pyro"
        else backend.dist.kl_divergence
    )
    rng = np.random.default_rng(0)
    loc, delta, log_scale = (backend.array(a) for a in rng.standard_normal((3, 4)))
    scale = backend.array(np.exp(rng.standard_normal(4)))
    prior = backend.dist.Normal(loc, scale)
    q = backend.D.ResidualNormal(prior, delta, log_scale)
    plain = backend.dist.Normal(q.loc, q.scale)
    other = backend.dist.Normal(loc + 1.0, scale)
    for p in (prior, other):
        np.testing.assert_allclose(backend.numpy(kl(q, p)), backend.numpy(kl(plain, p)), 1e-10)


def test_codes_have_the_loss_and_gradient_written_by_hand(torch_backend):
    b, torch = torch_backend, torch_backend.torch
    pair = b.perturbed(build(b, "VQVAE"), 0.2)
    x, book = bits(b, "VQVAE", 7), pair.generator.codebooks[0].weight
    loss = b.load("infer").BetaELBO().differentiable_loss(pair.model, pair.guide, x)
    ours = torch.autograd.grad(loss, list(pair.parameters()), allow_unused=True)
    # van den Oord et al. 2017, eq. 3
    inputs = pair._inputs(x)["z1"]
    rows = inputs.movedim(1, -1)
    codes = torch.cdist(rows.reshape(-1, 3), book).argmin(-1).reshape(7, 4, 4)
    e = book[codes].movedim(-1, 1)
    likelihood = pair.likelihood({"z1": inputs + (e - inputs).detach()})
    logits = pair.generator.priors[0].logits.log_softmax(-1).expand(7, 4, 4, 8)
    prior = logits.gather(-1, codes[..., None]).sum()
    bound = likelihood.log_prob(x).sum() + prior
    terms = ((inputs.detach() - e) ** 2).sum() + 0.25 * ((inputs - e.detach()) ** 2).sum()
    hand = torch.autograd.grad(-bound + terms, list(pair.parameters()), allow_unused=True)
    assert loss.item() == pytest.approx(-bound.item(), rel=1e-9)
    assert pair.bound(x).sum().item() == pytest.approx(bound.item(), rel=1e-9)
    for one, other in zip(ours, hand, strict=True):
        zero = torch.zeros(())
        one, other = (zero if g is None else g for g in (one, other))
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


@pytest.mark.compiles
def test_straight_through_gradients_are_those_of_the_twin(both):
    rng = np.random.default_rng(0)
    inputs, book, weight = (
        rng.standard_normal((2, 3, 2, 2)),
        rng.standard_normal((5, 3)),
        rng.standard_normal((2, 3, 2, 2)),
    )
    found = []
    for b in both:

        def objective(_, inputs, book, b=b):
            q = b.D.VectorQuantized(inputs, book)
            z = q.rsample() if b.name == "pyro" else q.sample(None)
            return (b.array(weight) * z).sum() - q.log_prob(z).sum()

        module = b.make(b.nn.Dense, 1, 1, ())
        found.append(b.grads(objective, module, b.array(inputs), b.array(book))[1])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-10)


@pytest.mark.compiles
def test_unused_codes_move_to_data(backend):
    pair, x = build(backend, "VQVAE"), bits(backend, "VQVAE", 50)
    before = pair.perplexity(x)["z1"]
    counts = backend.numpy(pair.usage(x)["z1"])
    assert counts.sum() == 50 * 16 and (counts == 0).any()
    assert pair.restart_dead_codes(*keys(backend), x).perplexity(x)["z1"] > before


def test_a_prior_of_codes_may_be_any_module(backend):
    pair = build(backend, "VQVAE2")
    prior = pair.generator.priors[0]
    again = build(backend, "VQVAE2", priors=[prior, pair.generator.priors[1]])
    assert again.prior().event_shape == (3, 2, 2)
    with pytest.raises(ValueError, match="priors must be one for each of 2 levels"):
        build(backend, "VQVAE2", priors=[prior])


@pytest.mark.compiles
def test_the_spectral_penalty_is_the_sum_of_norms(backend):
    infer = backend.load("infer")
    module = backend.make(backend.nn.Dense, 6, 4, (5,))
    named = backend.named(module)
    expected = sum(np.linalg.norm(a, 2) for a in named.values() if a.ndim > 1)
    found = float(backend.numpy(infer.spectral_penalty(module)))
    assert expected * 0.9 < found <= expected + 1e-9
    pair, x = build(backend, "LadderVAE"), bits(backend, "LadderVAE", 3)
    elbo = infer.PenalizedELBO(infer.BetaELBO(), lambda *_: infer.spectral_penalty(module), 2.0)
    plain = loss_of(backend, infer.BetaELBO(), pair, x)
    assert loss_of(backend, elbo, pair, x) == pytest.approx(plain + 2.0 * found, rel=1e-9)
    assert elbo.evaluation.num_particles == 1


CONVOLUTIONS = [
    ("Conv", {"stride": 2, "spatial_dims": 1}),
    ("Conv", {"groups": 2, "dilation": 2}),
    ("Conv", {"padding": 0, "spatial_dims": 3}),
    ("ConvTranspose", {"stride": 2, "groups": 2}),
    ("ConvTranspose", {"stride": 2, "padding": 1, "spatial_dims": 1, "dilation": 2}),
    ("ConvTranspose", {"kernel_size": 4, "stride": 2, "padding": 1}),
]


@pytest.mark.parametrize("name, options", CONVOLUTIONS, ids=str)
def test_convolutions_are_those_of_the_twin(both, name, options, tmp_path):
    layers = [b.make(getattr(b.nn, name), 4, 6, **options) for b in both]
    both[0].io.save(tmp_path / "layer", layers[0])
    layers[1] = both[1].io.load(tmp_path / "layer", layers[1])
    shape = (2, 3, 4, *(7, 6, 5)[: options.get("spatial_dims", 2)])
    x = np.random.default_rng(0).standard_normal(shape)
    ours, theirs = (b.numpy(f(b.array(x))) for b, f in zip(both, layers, strict=True))
    np.testing.assert_allclose(theirs, ours, atol=1e-10)
    row = both[0].numpy(layers[0](both[0].array(x[1, 2])))
    np.testing.assert_allclose(row, ours[1, 2], atol=1e-10)


BLOCKS = [("BottleneckBlock", (4, 6, 2)), ("SeparableBlock", (4,)), ("GroupNorm", (4, 2))]


@pytest.mark.parametrize("name, args", BLOCKS)
def test_blocks_are_those_of_the_twin(both, name, args, tmp_path):
    blocks = [b.make(getattr(b.nn, name), *args) for b in both]
    both[0].io.save(tmp_path / "block", blocks[0])
    blocks[1] = both[1].io.load(tmp_path / "block", blocks[1])
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 8, 7))
    ours, theirs = (b.numpy(f(b.array(x))) for b, f in zip(both, blocks, strict=True))
    np.testing.assert_allclose(theirs, ours, atol=1e-10)


def test_images_change_their_size_alike(both):
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 5))
    for name, size in (("average_pool", (4, 3)), ("resize_nearest", (14, 7))):
        ours, theirs = (b.numpy(getattr(b.nn, name)(b.array(x), *size)) for b in both)
        np.testing.assert_allclose(theirs, ours, atol=1e-12)
    np.testing.assert_allclose(ours[..., ::2, 0], x[..., 0])


def test_wrong_convolutions_are_refused(backend):
    cases = [
        ({"kernel_size": 2}, "kernel_size must be odd"),
        ({"groups": 3}, "multiple of groups"),
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3"),
        ({"stride": (1, 2, 3)}, "stride must have one entry"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            backend.make(backend.nn.Conv, 4, 4, **options)
    with pytest.raises(ValueError, match="input must have shape"):
        backend.make(backend.nn.Conv, 4, 4)(backend.array(np.zeros((3, 5, 5))))
