"""Ranks of the truth among posterior draws, and the tests of their uniformity."""

import numpy as np
import pytest
import scipy.stats

from pyro_deepgen.infer import rank_statistics, uniformity


def test_ranks_are_counts_below():
    draws = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert rank_statistics(draws, np.array([2.5, 3.0])).tolist() == [2, 0]
    wide = np.stack([draws, -draws], -1)
    truth = np.array([[2.5, -2.5], [7.0, -7.0]])
    assert rank_statistics(wide, truth).tolist() == [[2, 1], [3, 0]]


def test_ties_are_broken_uniformly():
    ranks = rank_statistics(np.zeros((4000, 9)), np.zeros(4000))
    assert uniformity(ranks, 9).chi_square_p_value > 1e-3


def test_uniform_ranks_pass_as_often_as_they_should():
    rng, inside, small = np.random.default_rng(0), [], []
    for _ in range(80):
        found = uniformity(rng.integers(0, 51, 120), 50)
        inside.append(np.all((found.lower <= found.ecdf) & (found.ecdf <= found.upper)))
        small.append((found.ecdf_p_value < 0.1, found.chi_square_p_value < 0.1))
    # within four standard errors of binomial shares; the exact test is discrete
    assert abs(np.mean(inside) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 80)
    shares = np.mean(small, axis=0)
    assert (np.abs(shares - 0.1) < 4 * np.sqrt(0.09 / 80)).all()


@pytest.mark.parametrize("shift, scale", [(0.5, 1.0), (0.0, 0.6), (0.0, 1.7)])
def test_wrong_posteriors_are_found(shift, scale):
    """Biased, too narrow and too wide."""
    rng = np.random.default_rng(1)
    draws, truth = shift + scale * rng.normal(size=(300, 99)), rng.normal(size=300)
    found = uniformity(rank_statistics(draws, truth), 99)
    assert found.ecdf_p_value < 1e-4 and found.chi_square_p_value < 1e-4
    assert np.any((found.ecdf < found.lower) | (found.ecdf > found.upper))


def test_chi_square_is_that_of_scipy():
    ranks = np.random.default_rng(2).integers(0, 100, 200)
    found = uniformity(ranks, 99)
    expected = scipy.stats.chisquare(found.counts, found.expected)
    assert found.chi_square == pytest.approx(expected.statistic)
    assert found.chi_square_p_value == pytest.approx(expected.pvalue)


def test_bad_arguments():
    with pytest.raises(ValueError, match="draws must have shape"):
        rank_statistics(np.zeros((3, 5)), np.zeros(4))
    with pytest.raises(ValueError, match="must not be NaN, got 1 NaN"):
        rank_statistics(np.zeros((3, 5)), np.array([0.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="at least 10 of them"):
        uniformity(np.arange(5), 9)
    with pytest.raises(ValueError, match="ranks must lie in 0, ..., num_draws=9, got 0 to 10"):
        uniformity(np.arange(11), 9)
