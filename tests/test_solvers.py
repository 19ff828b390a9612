"""The two solvers of masked autoregressive inverses, against each other and the naive one."""

import jax
import numpy as np
import pytest

SOLVERS = ("incremental", "fixed_point")
SIZES = [(1, 2), (2, 0), (5, 2), (20, 0)]
MAPS = {
    "affine": lambda backend: backend.T.AffineMap(),
    "spline": lambda backend: backend.T.RationalQuadraticMap(num_bins=4),
}


def build(backend, elementwise, input_dim, context_dim=0, solver="auto", scale=0.1, **kwargs):
    """The same trained transform for every solver."""
    transform = backend.make(
        backend.T.MaskedAutoregressive,
        input_dim,
        elementwise,
        hidden_dims=(16, 16),
        context_dim=context_dim,
        solver=solver,
        **kwargs,
    )
    return backend.perturbed(transform, scale)


def images(backend, input_dim, context_dim=0, scale=2.0):
    """Images, and contexts or None."""
    rng = np.random.default_rng(5)
    y = scale * rng.standard_normal((3, 4, input_dim))
    context = rng.standard_normal((4, context_dim))
    return backend.array(y), backend.array(context) if context_dim else None


def naive(backend, transform, y, context, num_passes):
    """Passes over all inputs at once, each of which makes one more input final."""

    def solve(y):
        x = 0.0 * y
        for _ in range(num_passes):
            params = transform.network(x, context)
            x, log_det = transform.elementwise.inverse_and_log_det(y, params)
        return x, log_det.sum(-1)

    return backend.run(solve, y)


@pytest.mark.parametrize("order", ["natural", "reversed"])
@pytest.mark.parametrize("input_dim, context_dim", SIZES)
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.compiles
def test_solvers_agree_with_naive_passes(backend, name, input_dim, context_dim, order):
    y, context = images(backend, input_dim, context_dim)
    for solver in SOLVERS:
        transform = build(backend, MAPS[name](backend), input_dim, context_dim, solver, order=order)
        expected = naive(backend, transform, y, context, input_dim)
        found = backend.apply(transform, "inverse_and_log_det", y, context)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("input_dim, context_dim", [(1, 2), (5, 2)])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.compiles
def test_solvers_have_equal_gradients(backend, name, input_dim, context_dim):
    y, context = images(backend, input_dim, context_dim)

    def loss(transform, y, context):
        x, log_det = transform.inverse_and_log_det(y, context)
        return backend.sin(x).sum() + backend.sin(log_det).sum()

    results = []
    for solver in SOLVERS:
        transform = build(backend, MAPS[name](backend), input_dim, context_dim, solver)
        results.append(backend.grads(loss, transform, y, context))
    (by_name, by_array), (others_by_name, others_by_array) = results
    assert by_name.keys() == others_by_name.keys()
    for key, value in by_name.items():
        np.testing.assert_allclose(value, others_by_name[key], atol=1e-10, err_msg=key)
    for a, b in zip(by_array, others_by_array, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("name", MAPS)
def test_solvers_agree_far_outside(backend, name):
    y, _ = images(backend, 5, scale=1e3)
    transforms = [build(backend, MAPS[name](backend), 5, 0, s, scale=0.01) for s in SOLVERS]
    expected, found = (backend.apply(t, "inverse_and_log_det", y, None) for t in transforms)
    for a, b in zip(found, expected, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("scale, least, most", [(0.0, 1, 3), (0.02, 2, 12)])
def test_fixed_point_stops_early(backend, scale, least, most):
    input_dim, calls = 40, []

    def note():
        calls.append(1)

    class CountingMap(backend.T.AffineMap):
        def inverse_and_log_det(self, y, params):
            if backend.name == "numpyro":
                jax.debug.callback(note)
            else:
                note()
            return super().inverse_and_log_det(y, params)

    transform = build(backend, CountingMap(), input_dim, 0, "fixed_point", scale)
    y, _ = images(backend, input_dim)
    backend.apply(transform, "inverse_and_log_det", y, None)
    jax.effects_barrier()
    assert least <= len(calls) <= most


def test_unknown_solver_is_refused(backend):
    with pytest.raises(ValueError, match="solver must be one of .* got 'newton'; choose"):
        backend.make(backend.T.MaskedAutoregressive, 3, solver="newton")


@pytest.mark.parametrize("input_dim", [1, 2, 3])
@pytest.mark.parametrize("solver", ["auto", "incremental", "fixed_point"])
def test_derivatives_of_compiled_and_mapped_inverses_have_the_shapes_of_the_values(
    jax_backend, input_dim, solver
):
    b, jax = jax_backend, jax_backend.jax
    transform = b.make(b.T.MaskedAutoregressive, input_dim, hidden_dims=(8,), solver=solver)
    transform = b.perturbed(transform, 0.3)
    y = b.array(np.random.default_rng(0).standard_normal((4, input_dim)))

    def mapped(transform):
        return jax.vmap(lambda y: jax.jit(lambda t, y: t.inverse_and_log_det(y))(transform, y))(y)

    values, _ = jax.vjp(mapped, transform)
    for found, expected in zip(values, transform.inverse_and_log_det(y), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-12)
