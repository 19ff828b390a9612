"""Batches of autoregressive distributions: leading axes, expand, plates, particles and vmap."""

import numpy as np
import pytest
from test_autoregressive import CASES, bernoulli, bits, case_of, conditionals

KINDS = pytest.mark.parametrize("kind", ["vector", "label", "image"])
# of each family one, the first of which JAX compiles fast
FAMILIES = pytest.mark.parametrize(
    "case",
    [case_of(name) for name in ("MADE", "PixelCNN", "RowLSTM", "CausalTransformer")],
    ids=str,
)


def contexts(module, kind: str, leading) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "label":
        return rng.integers(0, 3, leading)
    return rng.standard_normal((*leading, *module.network.context_shape))


@KINDS
@CASES
def test_leading_axes_of_values_and_contexts_broadcast(backend, case, kind):
    """Each score is that of one value under its own context, and draws come with theirs."""
    b = backend
    module = bernoulli(b, case, context_dim=3, context_kind=kind)
    context = contexts(module, kind, (4, 1))
    x = np.random.default_rng(1).integers(0, 2, (2, 4, 5, 2, 3))
    d = module(b.array(context))
    assert tuple(d.batch_shape) == (4, 1)
    scores = b.score(d, x)
    assert scores.shape == (2, 4, 5)
    each = np.stack([b.score(module(b.array(c[0])), x[:, i]) for i, c in enumerate(context)], 1)
    np.testing.assert_allclose(scores, each, atol=1e-10)
    assert np.ptp(b.score(d, np.zeros((2, 3)))) > 1e-4
    np.testing.assert_allclose(b.score(d.expand((2, 4, 5)), x), scores, atol=1e-10)
    drawn, log_prob = b.draw_and_score(d.expand((4, 5)), (2,))
    assert drawn.shape == x.shape
    np.testing.assert_allclose(log_prob, b.score(d, drawn), atol=1e-10)
    # rows of one context are draws of their own
    assert len({row.tobytes() for row in drawn.reshape(-1, 6)}) > 4


@FAMILIES
def test_plates_with_subsampling(backend, case):
    module = bernoulli(backend, case, context_dim=2)
    context = backend.array(np.random.default_rng(1).standard_normal((3, 2)))
    x = bits((2, 3))[:3]

    def model():
        with backend.plate("data", 6, subsample_size=3):
            backend.sample("x", module(context))

    expected = 2.0 * backend.score(module(context), x).sum()
    assert backend.log_joint(model, {"x": x}) == pytest.approx(expected, abs=1e-8)


@FAMILIES
def test_particles_over_a_subsampled_plate(backend, case):
    """A latent context of each particle and datum, as a vectorised bound has."""
    module = bernoulli(backend, case, context_dim=2)
    rng = np.random.default_rng(1)
    z, x = rng.standard_normal((4, 3, 2)), bits((2, 3))[:3]

    def model():
        with backend.plate("particles", 4, dim=-2):
            with backend.plate("data", 6, subsample_size=3, dim=-1):
                scale = backend.array(np.ones(2))
                normal = backend.dist.Normal(backend.array(np.zeros(2)), scale)
                latent = backend.sample("z", normal.to_event(1))
                backend.sample("x", module(latent), obs=backend.array(x))

    prior = -0.5 * (z**2).sum() - z.size / 2 * np.log(2 * np.pi)
    scores = backend.score(module(backend.array(z)), x)
    assert scores.shape == (4, 3)
    expected = 2.0 * (prior + scores.sum())
    assert backend.log_joint(model, {"z": z}) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("case", [case_of("MADE"), case_of("PixelCNN")], ids=str)
def test_stacked_distributions(jax_backend, case):
    b = jax_backend
    module = bernoulli(b, case, context_dim=2)
    context = b.array(np.random.default_rng(0).standard_normal((4, 2)))
    stacked = b.jax.vmap(module)(context)
    x = b.array(bits((2, 3))[:4])
    np.testing.assert_allclose(b.score(stacked, x), b.score(module(context), x), atol=1e-12)
    draws, log_prob = b.draw_and_score(stacked, (5,))
    assert draws.shape == (5, 4, 2, 3)
    np.testing.assert_allclose(log_prob, b.score(module(context), draws), atol=1e-10)
    with pytest.raises(ValueError, match=r"value must have shape \(...\) \+ \(2, 3\)"):
        stacked.log_prob(b.array(np.zeros((4, 3, 2))))


@pytest.mark.parametrize("case", [case_of("MADE"), case_of("PixelCNN")], ids=str)
def test_what_is_of_one_distribution_is_mapped_over_a_stack(jax_backend, case):
    b = jax_backend
    conditional = conditionals(b).NormalConditional()
    module = b.perturbed(case.distribution(b, (2, 3), conditional, context_dim=2), 0.3)
    context, u = (np.random.default_rng(0).standard_normal((4, *n)) for n in ((2,), (2, 3)))
    stacked, mask = b.jax.vmap(module)(b.array(context)), np.tri(2, 3, dtype=bool)
    with pytest.raises(ValueError, match=r"as_transform must be called on one .* jax.vmap"):
        stacked.as_transform()
    with pytest.raises(ValueError, match=r"sample_given must be called on one .* jax.vmap"):
        stacked.sample_given(b.key(), mask, b.array(u))
    # as the messages say
    x = b.jax.vmap(lambda d, x: d.as_transform()(x))(stacked, b.array(u))
    (expected,) = b.run(lambda u: (module(b.array(context)).as_transform()(u),), b.array(u))
    np.testing.assert_allclose(x, expected, atol=1e-10)
    keys = b.jax.random.split(b.key(), 4)
    drawn = b.jax.vmap(lambda d, k: d.sample_given(k, mask, b.array(u[0])))(stacked, keys)
    assert (b.numpy(drawn.value)[:, mask] == u[0][mask]).all()
