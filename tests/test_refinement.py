"""Guides refined for given data: exact cases, any pair, and what is refused."""

import numpy as np
import pytest
from registry_models import digits
from test_hierarchical import build


def conjugate(b):
    """A model with known evidence and posterior, and a poor guide."""
    ones = b.torch.ones if b.name == "pyro" else b.jnp.ones
    dist = b.dist

    def model(x, size=None):
        with b.plate("data", len(x) if size is None else size, **subsample(b, x, size)):
            z = b.sample("z", dist.Normal(0.0 * ones(2), 1.0).to_event(1))
            b.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x, size=None):
        with b.plate("data", len(x) if size is None else size, **subsample(b, x, size)):
            b.sample("z", dist.Normal(0.0 * x, 1.0).to_event(1))

    return model, guide


def subsample(b, x, size):
    if size is None:
        return {}
    return {"subsample": b.torch.arange(len(x))} if b.name == "pyro" else {"subsample_size": len(x)}


def refined(b, model, guide, *args, **kwargs):
    infer = b.load("infer")
    if b.name == "numpyro":
        return infer.refine(b.key(), model, guide, {}, *args, **kwargs)
    with b.torch.random.fork_rng():
        b.torch.manual_seed(0)
        return infer.refine(model, guide, *args, **kwargs)


def bounds(b, model, guide, x, num_samples=200):
    """Evidence lower bound of each datum, by other noise than that of the refinement."""
    infer = b.load("infer")
    if b.name == "numpyro":
        run = infer.log_evidence(b.key(7), model, guide, {}, num_samples, args=(x,))
    else:
        with b.torch.random.fork_rng():
            b.torch.manual_seed(7)
            run = infer.log_evidence(model, guide, num_samples, args=(x,))
    return np.asarray(run.elbo), np.asarray(run.log_evidence)


@pytest.mark.parametrize("size", [None, 50])
@pytest.mark.compiles
def test_the_posterior_of_a_conjugate_model_is_found(backend, size):
    b, (model, guide) = backend, conjugate(backend)
    x = b.array(np.random.default_rng(0).standard_normal((5, 2)) * 1.5)
    options = {"step_size": 0.05, "num_particles": 40, "clip_norm": None}
    better = refined(b, model, guide, 60, args=(x,), kwargs={"size": size}, **options)
    assert better.bounds.shape == (61,)
    # precision 1 + 1 / 0.25
    shift, log_scale = (b.numpy(part) for part in better.offsets["z"])
    error = 0.45 / 40**0.5
    np.testing.assert_allclose(shift, b.numpy(x) * 0.8, atol=5 * error)
    np.testing.assert_allclose(log_scale, np.log(0.2**0.5), atol=0.3)
    variance = 1.25
    evidence = -0.5 * (b.numpy(x) ** 2 / variance + np.log(2 * np.pi * variance)).sum(-1)
    gap = evidence - bounds(b, model, better, x, 2000)[0]
    assert (gap < 0.15).all() and gap.mean() < 0.06
    assert (evidence - bounds(b, model, guide, x, 2000)[0] > 1.0).all()


def test_without_steps_taken_the_guide_is_as_it_was(backend):
    b, (model, guide) = backend, conjugate(backend)
    x = b.array(np.random.default_rng(0).standard_normal((5, 2)))
    same = refined(b, model, guide, 1, args=(x,), step_size=1e-12)
    for before, after in zip(bounds(b, model, guide, x), bounds(b, model, same, x), strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-6)


def pair_of(b, name):
    models = b.load("models")
    if name == "vae-full":
        return b.make(models.vae, (8, 8), 3, (16,), posterior="full"), False
    if name == "vae-flow":
        flow = b.make(b.D.planar, 3, 2, (), context_dim=6)
        return b.make(models.vae, (8, 8), 3, (16,), posterior=flow), False
    if name == "stacked":
        return b.make(models.stacked_vae, (8, 8), (4, 2), ((16,), (8,))), False
    return build(b, name), name == "VeryDeepVAE"


@pytest.mark.compiles
@pytest.mark.parametrize(
    "name",
    [
        "vae-full",
        "vae-flow",
        "stacked",
        "LadderVAE",
        pytest.param("VeryDeepVAE", marks=pytest.mark.slow),
    ],
)
def test_any_pair_has_tighter_bounds(backend, name):
    b = backend
    pair, of_images = pair_of(b, name)
    pair = b.perturbed(pair, 0.3)
    x = digits("bits", 6)
    x = b.array(x[:, None] if of_images else x)
    before = b.named(pair)
    better = refined(b, pair.model, pair.guide, 20, args=(x,), num_particles=20, step_size=0.05)
    after = b.named(pair)
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)
    assert float(better.bounds[-1]) > float(better.bounds[0])
    loose, tight = (bounds(b, pair.model, g, x, 100)[0] for g in (pair.guide, better))
    # by noise that the steps have not seen
    assert (tight > loose).sum() >= 5 and (tight - loose).mean() > 0.1


@pytest.mark.compiles
def test_what_cannot_be_moved_is_refused(backend):
    b = backend
    x = b.array(digits("bits", 3))
    pair = build(b, "VQVAE")
    with pytest.raises(ValueError, match="latent sites must be real.*'z1' of VectorQuantized"):
        refined(b, pair.model, pair.guide, args=(x[:, None],))
    pair = build(b, "BidirectionalVAE")
    with pytest.raises(ValueError, match="drawn where they are scored.*AtValue"):
        refined(b, pair.model, pair.guide, args=(x,))
    model, guide = conjugate(b)
    for options, message in (
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"momentum": 1.0}, "momentum must be between 0 and 1"),
        ({"num_particles": 0}, "num_particles must be"),
    ):
        with pytest.raises(ValueError, match=message):
            refined(b, model, guide, args=(x[:, 0, :2],), **options)
    with pytest.raises(TypeError, match="guide must be callable"):
        refined(b, model, None, args=(x,))
