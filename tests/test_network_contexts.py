"""Contexts of the networks on grids, each network with each kind, and labels that are none."""

import numpy as np
import pytest
from registry_autoregressive import NETWORKS
from test_autoregressive import case_of, conditionals

CASES = pytest.mark.parametrize("case", NETWORKS, ids=str)
KINDS = ["vector", "label", "image"]
SHAPE, NUM_CLASSES = (3, 4), 4


def build(b, case, kind: str, scale: float = 0.2):
    conditional = conditionals(b).CategoricalConditional(3)
    sizes = {"context_dim": NUM_CLASSES, "context_kind": kind, "one_hot": True}
    return b.perturbed(case.distribution(b, SHAPE, conditional, **sizes), scale)


def contexts(module, kind: str, num_contexts: int) -> np.ndarray:
    """As many contexts; labels are all different."""
    if kind == "label":
        return np.array([1, 3, 0, 2])[:num_contexts]
    shape = (num_contexts, *module.network.context_shape)
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("kind", KINDS)
@CASES
def test_contexts_of_a_batch_give_what_each_gives_alone(backend, case, kind):
    b, module = backend, build(backend, case, kind)
    context = b.array(contexts(module, kind, 2))
    d = module(context)
    assert tuple(d.batch_shape) == (2,)
    # by steps, and in one pass
    x, by_steps = b.draw_and_score(d.expand((3, 2)))
    assert x.shape == (3, 2, *SHAPE) and set(np.unique(x)) <= {0, 1, 2}
    np.testing.assert_allclose(by_steps, b.score(d, x), atol=1e-10)
    for i in range(2):
        alone = b.score(module(context[i]), x)
        np.testing.assert_allclose(alone[:, i], by_steps[:, i], atol=1e-10)
        assert np.abs(alone[:, 1 - i] - by_steps[:, 1 - i]).min() > 1e-4


@pytest.mark.parametrize(
    "case, kind",
    [
        pytest.param(c, kind, marks=pytest.mark.slow if c.cost and kind != "label" else ())
        for c in NETWORKS
        for kind in KINDS
    ],
    ids=str,
)
def test_twins_agree_on_contexts(both, case, kind, tmp_path):
    theirs, ours = both
    module = build(theirs, case, kind)
    theirs.io.save(tmp_path / "file", module)
    other = ours.io.load(tmp_path / "file", build(ours, case, kind))
    context = contexts(module, kind, 4)
    x = np.random.default_rng(1).integers(0, 3, (4, *SHAPE))
    expected = theirs.score(module(theirs.array(context)), x)
    found = ours.score(other(ours.array(context)), x)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "labels, bad", [(4, 4), (-1, -1), (1.5, 1.5), (np.nan, "nan"), ([0, 4], 4), ([-1, 2], -1)]
)
def test_labels_outside_the_range_are_refused(backend, labels, bad):
    module = build(backend, case_of("MADE"), "label")
    message = f"whole numbers from 0 to 3, got {bad}.*; pass labels inside"
    x = backend.array(np.zeros((12, 3)))
    for given in (labels, np.asarray(labels), backend.array(labels)):
        with pytest.raises(ValueError, match=message):
            module(given)
        with pytest.raises(ValueError, match=message):
            module.network(x, given)


def test_labels_of_python_numpy_and_the_host(backend):
    b, module = backend, build(backend, case_of("MADE"), "label")
    x = np.random.default_rng(1).integers(0, 3, SHAPE)
    expected = b.score(module(b.array([2, 0])), x)
    for labels in ([2, 0], np.array([2, 0]), np.array([2.0, 0.0]), np.array([2, 0], np.uint8)):
        np.testing.assert_array_equal(b.score(module(labels), x), expected)
    for label in (2, np.int64(2), np.array(2)):
        np.testing.assert_allclose(b.score(module(label), x), expected[0], rtol=1e-12)
        assert module(label).batch_shape == ()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@CASES
def test_hidden_labels_outside_the_range_give_nan(backend, case):
    """Under a transformation, where no value is known to be refused."""
    b, labels = backend, np.array([3, -1, 0, 4, 1.5])
    network = case.build(b, SHAPE, 2, context_dim=NUM_CLASSES, context_kind="label")
    rng = np.random.default_rng(0)
    x = b.array(rng.standard_normal((*network.grid_shape, network.in_channels)))
    if b.name == "numpyro":
        params = b.jax.jit(b.jax.vmap(lambda label: network(x, label)))(b.array(labels))
    else:
        params = b.torch.func.vmap(lambda label: network(x, label))(b.array(labels))
    params = b.numpy(params).reshape(5, -1)
    assert not np.isnan(params[[0, 2]]).any() and np.isnan(params[[1, 3, 4]]).all()
    (expected,) = b.run(lambda x, label: (network(x, label),), x, b.array(labels[[0, 2]]))
    np.testing.assert_allclose(params[[0, 2]], expected.reshape(2, -1), atol=1e-10)


def test_hidden_labels_outside_the_range_have_no_density(jax_backend):
    b, module = jax_backend, build(jax_backend, case_of("MADE"), "label")
    x = b.array(np.random.default_rng(1).integers(0, 3, SHAPE))
    found = b.jax.jit(lambda label: module(label).log_prob(x))(np.array([2, 4, -1]))
    np.testing.assert_allclose(found[0], b.score(module(2), x), atol=1e-10)
    assert np.isnan(found[1:]).all()
