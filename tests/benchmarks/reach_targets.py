"""Targets of the reach table, written once for both hosts, and what is known of them."""

from functools import cache

import numpy as np

__all__ = ["DENSITIES", "MODES", "PROBLEM_NAMES", "mode_shares", "model_of"]

DENSITIES = ("banana", "funnel", "correlated", "ring", "moons")
PROBLEM_NAMES = (
    "eight_schools",
    "eight_schools_centered",
    "horseshoe_diabetes",
    "logistic_breast_cancer",
)
MODES = {"ring": 8, "moons": 2}
RADIUS, RING_SCALE = 4.0, 0.4


def model_of(host, name: str):
    """A model of known evidence 1, its latent vectors ``z`` where there is one site."""
    return {
        "banana": _banana,
        "funnel": _funnel,
        "correlated": _correlated,
        "ring": _ring,
        "moons": _moons,
    }[name](host)


def mode_shares(name: str, z: np.ndarray) -> np.ndarray:
    """Share of draws ``(N, 2)`` at each mode."""
    if name == "moons":
        return np.array([(z[:, 0] < 0).mean(), (z[:, 0] >= 0).mean()])
    angle = np.arctan2(z[:, 1], z[:, 0])
    mode = np.rint(angle / (2 * np.pi / 8)).astype(int) % 8
    return np.bincount(mode, minlength=8) / len(z)


def _banana(host):
    """Haario, Saksman & Tamminen (1999): a normal distribution of scales 10 and 1, bent."""

    def model():
        x = host.sample("x", host.dist.Normal(host.array(0.0), host.array(10.0)))
        host.sample("y", host.dist.Normal(0.03 * (x**2 - 100.0), host.array(1.0)))

    return model


def _funnel(host):
    """Neal (2003), ten dimensions."""

    def model():
        v = host.sample("v", host.dist.Normal(host.array(0.0), host.array(3.0)))
        with host.plate("dims", 9):
            host.sample("x", host.dist.Normal(host.array(0.0), host.math.exp(v / 2.0)))

    return model


def _correlated(host):
    """Twenty dimensions, random axes, variances from 1 to 1e-6."""
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))
    covariance = host.array((axes * np.logspace(0, -6, 20)) @ axes.T)
    loc = host.array(np.zeros(20))

    def model():
        host.sample("z", host.dist.MultivariateNormal(loc, covariance))

    return model


def _factor_model(host, log_density):
    """A density over the plane, beside a standard normal prior that it replaces."""
    loc, scale = host.array(np.zeros(2)), host.array(1.0)

    def model():
        prior = host.dist.Normal(loc, scale).to_event(1)
        z = host.sample("z", prior)
        host.factor("shape", log_density(z) - prior.log_prob(z))

    return model


def _ring(host):
    """Eight normal distributions of scale 0.4 on a circle of radius 4."""
    angles = 2 * np.pi * np.arange(8) / 8
    centres = host.array(RADIUS * np.stack([np.cos(angles), np.sin(angles)], -1))
    scale = host.array(RING_SCALE)

    def log_density(z):
        terms = host.dist.Normal(centres, scale).to_event(1).log_prob(z[..., None, :])
        return host.logsumexp(terms) - np.log(8)

    return _factor_model(host, log_density)


def _moons(host):
    """Two half circles of radius 2 and width 0.2, as in normflows' ``TwoMoons``."""
    constant = _moons_constant()

    def log_density(z):
        radius = host.math.sqrt((z**2).sum(-1) + 1e-30)
        right, left = ((z[..., 0] - 2.0) / 0.3) ** 2, ((z[..., 0] + 2.0) / 0.3) ** 2
        shape = host.math.logaddexp(-0.5 * right, -0.5 * left)
        return shape - 0.5 * ((radius - 2.0) / 0.2) ** 2 - constant

    return _factor_model(host, log_density)


@cache
def _moons_constant() -> float:
    grid = np.linspace(-5.0, 5.0, 2001)
    x, y = np.meshgrid(grid, grid)
    shape = np.logaddexp(-0.5 * ((x - 2) / 0.3) ** 2, -0.5 * ((x + 2) / 0.3) ** 2)
    values = shape - 0.5 * ((np.hypot(x, y) - 2.0) / 0.2) ** 2
    return float(np.log(np.exp(values).sum() * (grid[1] - grid[0]) ** 2))
