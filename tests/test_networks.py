"""Networks: shapes, starts, and what the masks let through."""

import numpy as np
import pytest
from registry import NETWORKS, journeys


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(NETWORKS, [(1, 2), (4, 0)]))
@pytest.mark.compiles
def test_any_leading_shape(backend, case, input_dim, context_dim):
    network = backend.perturbed(case.build(backend, input_dim, context_dim), 0.2)
    rng = np.random.default_rng(0)
    x = backend.array(rng.standard_normal((2, 3, input_dim)))
    context = backend.array(rng.standard_normal((2, 3, context_dim))) if context_dim else None
    whole = backend.numpy(case.call(network, x, context))
    row_context = None if context is None else context[1, 2]
    row = backend.numpy(case.call(network, x[1, 2], row_context))
    expected = whole[1, 2] if whole.ndim > row.ndim else whole
    np.testing.assert_allclose(row, expected, atol=1e-12)


# masked layers draw more widely, layers in blocks normalise their rows
UNMASKED = [c for c in NETWORKS if "Masked" not in c.covers and "Block" not in c.covers]


@pytest.mark.parametrize("case", UNMASKED, ids=str)
def test_starting_weights_have_the_usual_range(backend, case):
    network = case.build(backend, 16, 4)
    for name, array in backend.named(network).items():
        assert np.abs(array).max() <= 1.0 / np.sqrt(array.shape[-1]) + 1e-6 or array.ndim == 1, name


@pytest.mark.parametrize("context_dim", [0, 2])
@pytest.mark.parametrize("hidden_dims", [(), (3,), (8, 5)], ids=str)
def test_outputs_see_the_earlier_inputs_and_only_these(backend, hidden_dims, context_dim):
    order = [2, 0, 3, 1]
    network = backend.make(
        backend.nn.MaskedDense, 4, 2, hidden_dims, context_dim, order, activation="tanh"
    )
    network = backend.perturbed(network, 0.5)
    context = backend.array(np.ones(context_dim)) if context_dim else None
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4)
    start = backend.numpy(network(backend.array(x), context))
    rank = {index: place for place, index in enumerate(order)}
    for j in range(4):
        moved = x.copy()
        moved[j] += 1.0
        changed = backend.numpy(network(backend.array(moved), context)) != start
        allowed = np.array([rank[i] > rank[j] for i in range(4)])
        assert not changed[:, ~allowed].any()
        # a narrow network has no unit for some inputs; a wide one passes everything on
        if hidden_dims != (3,) and min(hidden_dims, default=4) >= 3:
            assert changed[:, allowed].all()
    if context_dim:
        other = backend.numpy(network(backend.array(x), context + 1.0))
        assert (other != start).all()


def test_masks_are_not_saved(backend):
    network = backend.make(backend.nn.MaskedDense, 3, hidden_dims=(4,), context_dim=2)
    assert set(backend.named(network)) == {
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
        "context_layer.weight",
    }


def test_a_callable_activation(backend):
    network = backend.make(backend.nn.Dense, 2, 1, (3,), backend.sin)
    named = backend.make(backend.nn.Dense, 2, 1, (3,), "tanh")
    x = backend.array(np.ones(2))
    assert backend.numpy(network(x)) != backend.numpy(named(x))


def test_a_context_of_another_size_is_refused(backend):
    network = backend.make(backend.nn.MaskedDense, 3, context_dim=2)
    x = backend.array(np.zeros(3))
    with pytest.raises(ValueError, match="context must be given"):
        network(x)
    with pytest.raises(ValueError, match="context_dim=2"):
        network(x, backend.array(np.zeros(5)))
    with pytest.raises(ValueError, match="context must be None"):
        backend.make(backend.nn.MaskedDense, 3)(x, backend.array(np.zeros(5)))


@pytest.mark.slow
def test_attention_in_parts_is_attention(jax_backend):
    """More positions than one part has: values and gradients against all scores at once."""
    from numpyro_deepgen.nn.causal_transformer import PART, _causal_attention

    jax, count = jax_backend.jax, 2 * PART + 7
    arrays = np.random.default_rng(0).standard_normal((4, 2, 3, count, 4))
    *heads, weight = (jax_backend.array(a) for a in arrays)

    def at_once(query, key, value):
        scores = query @ key.mT / 2.0
        allowed = np.tri(count, dtype=bool)
        return jax.nn.softmax(scores, where=allowed) @ value

    def total(attend):
        return lambda *heads: (attend(*heads) * weight).sum()

    np.testing.assert_allclose(_causal_attention(*heads), at_once(*heads), rtol=1e-10)
    found, expected = (
        jax.grad(total(attend), (0, 1, 2))(*heads) for attend in (_causal_attention, at_once)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
