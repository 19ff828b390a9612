"""Draws of autoregressive distributions given some entries, against sums over all values."""

import numpy as np
import pytest
from scipy.special import logsumexp
from test_autoregressive import bernoulli, bits, case_of, conditionals


def given(b, d, mask, values, sample_shape, num_particles=1):
    if b.name == "numpyro":
        return d.sample_given(b.key(), mask, b.array(values), sample_shape, num_particles)
    with b.torch.random.fork_rng():
        b.torch.manual_seed(0)
        mask = b.torch.tensor(mask) if isinstance(mask, np.ndarray) else mask
        return d.sample_given(mask, b.array(values), sample_shape, num_particles)


def test_given_entries_that_come_first_are_exact(backend):
    d = bernoulli(backend, case_of("MADE"))()
    mask = np.array([[True] * 3, [False] * 3])
    values = np.array([[1, 0, 1], [0, 0, 0]])
    drawn = given(backend, d, mask, values, (200,))
    table = bits((2, 3))
    fits = (table[:, 0] == values[0]).all(-1)
    scores = backend.score(d, table)
    assert drawn.is_exact
    expected = logsumexp(scores[fits])
    np.testing.assert_allclose(backend.numpy(drawn.log_weight), expected, atol=1e-10)
    assert (backend.numpy(drawn.value)[:, 0] == values[0]).all()


@pytest.mark.compiles
def test_weights_make_other_given_entries_honest(backend):
    d = bernoulli(backend, case_of("MADE"), scale=1.0)()
    mask = np.array([[False] * 3, [False, True, True]])
    values = np.array([[0, 0, 0], [0, 1, 0]])
    table = bits((2, 3))
    fits = (table[:, 1, 1:] == values[1, 1:]).all(-1)
    scores = np.where(fits, backend.score(d, table), -np.inf)
    posterior = np.exp(scores - logsumexp(scores))
    drawn = given(backend, d, mask, values, (500,), num_particles=20)
    assert not drawn.is_exact
    weights = np.exp(backend.numpy(drawn.log_weight))
    error = weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - np.exp(logsumexp(scores))) < 5 * error
    value = backend.numpy(drawn.value)
    assert (value[:, 1, 1:] == values[1, 1:]).all()
    expected = (posterior[:, None, None] * table).sum(0)
    assert np.abs(value.mean(0) - expected)[~mask].max() < 5 * 0.5 / np.sqrt(500) + 0.03


ORDERS = ["raster", [3, 0, 2, 1, 5, 4]]


def test_of_several_orders_the_weights_are_honest(backend):
    """Their mean is the probability under the mixture, also where entries come first in all."""
    d = bernoulli(backend, case_of("MADE"), scale=0.5, order=ORDERS)()
    table = bits((2, 3))
    scores = backend.score(d, table)
    for mask in (np.eye(6, dtype=bool)[5], np.array([1, 1, 1, 1, 0, 0], bool)):
        mask = mask.reshape(2, 3)
        values = np.array([[1, 0, 1], [1, 0, 0]])
        fits = (table == values)[:, mask].all(-1)
        probability = np.exp(logsumexp(scores[fits]))
        drawn = given(backend, d, mask, values, (1500,))
        assert not drawn.is_exact
        weights = np.exp(backend.numpy(drawn.log_weight))
        assert abs(weights.mean() - probability) < 5 * weights.std() / np.sqrt(1500)
        value = backend.numpy(drawn.value)
        assert (value[:, mask] == values[mask]).all()
        # reweighted draws are posterior draws
        expected = (np.exp(scores[fits])[:, None, None] * table[fits]).sum(0) / probability
        terms = weights[:, None, None] * (value - expected) / probability
        assert (np.abs(terms.mean(0)) <= 5 * terms.std(0) / np.sqrt(1500) + 1e-12).all()


def test_nothing_given_is_a_sample_of_weight_one(backend):
    d = bernoulli(backend, case_of("MADE"), order=ORDERS)()
    drawn = given(backend, d, np.zeros((2, 3), bool), np.zeros((2, 3)), (4,), 3)
    assert drawn.is_exact
    np.testing.assert_array_equal(backend.numpy(drawn.log_weight), np.zeros(4))
    assert drawn.value.shape == (4, 2, 3)


def test_each_of_a_batch_of_contexts_has_its_own_values_and_weight(backend):
    module = bernoulli(backend, case_of("MADE"), scale=1.0, context_dim=2)
    context = backend.array(np.random.default_rng(1).standard_normal((3, 1, 2)))
    d, table = module(context).expand((3, 2)), bits((2, 3))
    mask = [[True, True, True], [False, False, False]]
    values = np.zeros((3, 2, 2, 3))
    values[:, 1, 0, 1] = 1.0
    drawn = given(backend, d, mask, values, (5,), 2)
    assert drawn.is_exact and drawn.value.shape == (5, 3, 2, 2, 3)
    value, found = backend.numpy(drawn.value), backend.numpy(drawn.log_weight)
    assert (value[..., 0, :] == values[..., 0, :]).all()
    scores = backend.score(module(context[:, 0]), table[:, None])
    for i in range(3):
        for j in range(2):
            fits = (table[:, 0] == values[i, j, 0]).all(-1)
            np.testing.assert_allclose(found[:, i, j], logsumexp(scores[fits, i]), atol=1e-10)
    # values of one event are those of all
    alike = given(backend, d, mask, values[0, 1], (5,))
    np.testing.assert_allclose(backend.numpy(alike.log_weight), found[:, :, [1, 1]], atol=1e-10)


def test_masks_and_values_that_do_not_fit_are_refused_alike(both):
    messages = []
    for b in both:
        d, zeros = bernoulli(b, case_of("MADE"))(), np.zeros((2, 3))
        family = conditionals(b).DiscretizedLogisticMixtureConditional(2, 0, 3, channels=3)
        colours = case_of("MADE").distribution(b, (3, 2), family)()
        # lists are masks too, and one entry is that of all
        assert given(b, d, [[True] * 3, [False] * 3], zeros, ()).is_exact
        assert (b.numpy(given(b, d, [[True]], zeros, ()).value) == 0).all()
        found = []
        for density, mask, values, match in [
            (d, np.ones((3, 2), bool), zeros, r"mask must have shape \(2, 3\)"),
            (d, np.ones((1, 2, 3), bool), zeros, r"mask must have shape \(2, 3\)"),
            (d, np.ones((2, 3), bool), np.zeros((3, 2)), r"values must have shape \(2, 3\)"),
            (d, np.ones((2, 3), bool), np.zeros((4, 2, 3)), r"values must have shape \(2, 3\)"),
            (colours, [[True, True]] * 2 + [[False, True]], np.zeros((3, 2)), "all channels"),
        ]:
            with pytest.raises(ValueError, match=match) as caught:
                given(b, density, mask, values, ())
            found.append(str(caught.value))
        messages.append(found)
    assert messages[0] == messages[1]


@pytest.mark.parametrize("family", ["BernoulliConditional", "NormalConditional"])
def test_given_values_are_cast_to_what_is_drawn(backend32, family):
    """Lists of whole numbers, and numbers of another precision."""
    b, mask, values = backend32, [[True, False, True], [False] * 3], [[1, 0, 0], [0, 0, 0]]
    d = case_of("MADE").distribution(b, (2, 3), getattr(conditionals(b), family)())()
    keys = () if b.name == "pyro" else (b.key(),)
    for given_values in (values, np.array(values, np.float64), np.array(values, np.int32)):
        drawn = d.sample_given(*keys, mask, given_values, (4,), 2)
        assert drawn.value.dtype == d.sample(*keys).dtype
        value = b.numpy(drawn.value)
        assert (value[:, 0, 0] == 1).all() and (value[:, 0, 2] == 0).all()
