"""A file written by one package gives the same numbers in the other, to 1e-10 in float64."""

import numpy as np
import pytest
from registry import DISTRIBUTIONS, NETWORKS, TRANSFORMS, journeys

DIMS = [(1, 0), (1, 2), (2, 0), (2, 2), (5, 0), (5, 2)]
SCALE = 0.1


def exchanged(both, case, input_dim, context_dim, path):
    """A trained object of torch, and what JAX loads from its file."""
    torch_side, jax_side = both
    theirs = torch_side.perturbed(case.build(torch_side, input_dim, context_dim), SCALE)
    torch_side.io.save(path, theirs)
    ours = jax_side.io.load(path, case.build(jax_side, input_dim, context_dim))
    return theirs, ours


def inputs(backend, input_dim, context_dim, place=lambda x: x):
    rng = np.random.default_rng(8)
    x, context = rng.standard_normal((4, 3, input_dim)), rng.standard_normal((3, context_dim))
    return backend.array(place(x)), backend.array(context) if context_dim else None


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(TRANSFORMS, DIMS), ids=str)
def test_transforms(both, case, input_dim, context_dim, tmp_path):
    path = tmp_path / "module.safetensors"
    modules = exchanged(both, case, input_dim, context_dim, path)
    directions = (("forward_and_log_det", case.domain), ("inverse_and_log_det", case.image))
    for method, place in directions:
        results = [
            backend.apply(module, method, *inputs(backend, input_dim, context_dim, place))
            for backend, module in zip(both, modules, strict=True)
        ]
        assert_same(*results)


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(DISTRIBUTIONS, DIMS), ids=str)
def test_flows(both, case, input_dim, context_dim, tmp_path):
    path = tmp_path / "module.safetensors"
    modules = exchanged(both, case, input_dim, context_dim, path)
    scores = []
    for backend, flow in zip(both, modules, strict=True):
        x, context = inputs(backend, input_dim, context_dim)
        scores.append(backend.score(flow(context), x))
    assert scores[0].shape == (4, 3)
    assert_same([scores[1]], [scores[0]])


@pytest.mark.parametrize("case, input_dim, context_dim", journeys(NETWORKS, DIMS), ids=str)
def test_networks(both, case, input_dim, context_dim, tmp_path):
    path = tmp_path / "module.safetensors"
    modules = exchanged(both, case, input_dim, context_dim, path)
    results = []
    for backend, network in zip(both, modules, strict=True):
        x, context = inputs(backend, input_dim, context_dim)
        results.append(backend.numpy(case.call(network, x, context)))
    assert_same([results[1]], [results[0]])


@pytest.mark.parametrize("case", [*TRANSFORMS, *DISTRIBUTIONS, *NETWORKS], ids=str)
def test_files_hold_the_same_names_and_shapes_and_travel_both_ways(both, case, tmp_path):
    path, back = tmp_path / "first", tmp_path / "second"
    theirs, ours = exchanged(both, case, 3, 2 * case.takes_context, path)
    torch_side, jax_side = both
    named = [backend.named(module) for backend, module in zip(both, (theirs, ours), strict=True)]
    shapes = [{name: array.shape for name, array in arrays.items()} for arrays in named]
    assert shapes[0] == shapes[1]
    jax_side.io.save(back, jax_side.perturbed(ours, SCALE, seed=1))
    torch_side.io.load(back, theirs)
    found, expected = torch_side.named(theirs), jax_side.named(jax_side.io.load(back, ours))
    assert_same([found[name] for name in shapes[0]], [expected[name] for name in shapes[0]])


def test_loading_casts_to_the_precision_of_the_module(backend, tmp_path):
    flow = backend.perturbed(backend.make(backend.D.realnvp, 2), 0.1)
    backend.io.save(tmp_path / "double", flow)
    arrays = backend.named(flow)
    assert {a.dtype for a in arrays.values()} == {np.dtype("float64")}
    with backend.precision(32):
        loaded = backend.io.load(tmp_path / "double", backend.make(backend.D.realnvp, 2))
        assert {a.dtype for a in backend.named(loaded).values()} == {np.dtype("float32")}
        assert backend.draw(loaded(), (3,)).dtype == np.float32


def test_errors_of_loading_are_the_same_on_both_hosts(both, tmp_path):
    messages = []
    for backend in both:
        backend.io.save(tmp_path / "file", backend.make(backend.D.realnvp, 2, hidden_dims=(8,)))
        other = backend.make(backend.D.realnvp, 2, hidden_dims=(9,), context_dim=1)
        with pytest.raises(ValueError, match="instead of") as caught:
            backend.io.load(tmp_path / "file", other)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
