"""Mixtures of discretised logistic variables over channels: exact at every scale."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logsumexp

SCALES = [1e-4, 1e-2, 1.0, 1e2]


def mixture(b, scale: float, channels: int, high: int, low: int = 0):
    """A mixture of three components with coefficients, and its arrays."""
    rng = np.random.default_rng(0)
    arrays = {
        "logits": rng.standard_normal(3),
        # also beyond both ends
        "loc": rng.uniform(-1.3, 1.3, (3, channels)),
        "scale": scale * rng.uniform(0.5, 2.0, (3, channels)),
        "coefficients": rng.uniform(-1.0, 1.0, (3, channels * (channels - 1) // 2)),
    }
    d = b.D.DiscretizedLogisticMixture(
        **{name: b.array(a) for name, a in arrays.items()}, low=low, high=high
    )
    return d, arrays


def pixels(channels: int, high: int, low: int = 0) -> np.ndarray:
    levels = [np.arange(low, high + 1)] * channels
    return np.stack(np.meshgrid(*levels, indexing="ij"), -1).reshape(-1, channels)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("channels, low, high", [(1, 0, 255), (2, -3, 12), (3, 0, 4)])
def test_probabilities_of_pixels_sum_to_one(backend, channels, low, high, scale):
    d, _ = mixture(backend, scale, channels, high, low)
    scores = backend.score(d, pixels(channels, high, low))
    assert not np.isnan(scores).any()
    assert logsumexp(scores) == pytest.approx(0.0, abs=1e-9)
    draws = backend.draw(d, (200,))
    assert draws.min() >= low and draws.max() <= high and (draws == draws.round()).all()
    assert np.isfinite(backend.score(d, draws)).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 1e2])
def test_pixels_against_the_published_formula(backend, scale):
    """By differences of the distribution function, component by component, channel by channel."""
    high, channels = 7, 3
    d, a = mixture(backend, scale, channels, high)
    x = pixels(channels, high)
    y, total = 2.0 * x / high - 1.0, np.zeros((len(x), 3))
    for k in range(3):
        means = a["loc"][k] + np.zeros_like(y)
        means[:, 1] += a["coefficients"][k, 0] * y[:, 0]
        means[:, 2] += a["coefficients"][k, 1] * y[:, 0] + a["coefficients"][k, 2] * y[:, 1]
        upper = expit((y + 1.0 / high - means) / a["scale"][k])
        lower = expit((y - 1.0 / high - means) / a["scale"][k])
        mass = np.where(x == high, 1.0, upper) - np.where(x == 0, 0.0, lower)
        total[:, k] = np.log(mass).sum(-1)
    expected = logsumexp(log_softmax(a["logits"]) + total, axis=-1)
    np.testing.assert_allclose(backend.score(d, x), expected, rtol=1e-6, atol=1e-6)
