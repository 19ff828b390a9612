"""Bounds on both hosts: one small adapter each, and expectations by quadrature and enumeration."""

import itertools
import math

import numpy as np
from backends import make_backend
from scipy.special import logsumexp, softmax

LOG_2_PI = math.log(2.0 * math.pi)


class PyroBounds:
    """Values and gradients of bounds on Pyro."""

    def __init__(self):
        self.backend = make_backend("pyro")
        self.torch, self.pyro, self.dist = self.backend.torch, self.backend.pyro, self.backend.dist
        self.infer = self.backend.load("infer")
        self.sample, self.plate, self.param = self.pyro.sample, self.pyro.plate, self.pyro.param
        self.stack, self.exp, self.where = self.torch.stack, self.torch.exp, self.torch.where
        self.handlers, self.hosts_elbo = self.pyro.poutine, self.pyro.infer.Trace_ELBO

    def array(self, value):
        return self.backend.array(value)

    def part(self, size: int, rows: int):
        """A data plate of which the first rows are there."""
        return self.plate("data", size, subsample=self.torch.arange(rows))

    def loss(self, elbo, model, guide, *args, seed=0, **kwargs) -> float:
        self.pyro.clear_param_store()
        self.pyro.set_rng_seed(seed)
        return float(elbo.loss(model, guide, *args, **kwargs))

    def grads(self, elbo, start: dict, model, guide, *args, seed=0, **kwargs):
        """The loss, and its gradients by parameter of real support."""
        self.pyro.clear_param_store()
        for name, value in start.items():
            self.param(name, self.array(value))
        self.pyro.set_rng_seed(seed)
        loss = elbo.loss_and_grads(model, guide, *args, **kwargs)
        found = {name: self.param(name).grad for name in start}
        return float(loss), {n: 0.0 if g is None else g.numpy() for n, g in found.items()}

    def many_grads(self, elbo, start: dict, model, guide, count: int):
        """Losses and gradients of many seeds."""
        runs = [self.grads(elbo, start, model, guide, seed=seed) for seed in range(count)]
        losses = np.array([loss for loss, _ in runs])
        return losses, {name: np.array([found[name] for _, found in runs]) for name in start}

    def train(self, elbo, model, guide, num_steps: int, *args, rate=0.02) -> dict:
        self.pyro.clear_param_store()
        self.pyro.set_rng_seed(0)
        optimizer = self.pyro.optim.Adam({"lr": rate})
        svi = self.pyro.infer.SVI(model, guide, optimizer, elbo)
        for _ in range(num_steps):
            svi.step(*args)
        return {n: v.detach().numpy() for n, v in self.pyro.get_param_store().items()}

    def fit(self, model, guide, num_steps: int, **options):
        self.pyro.clear_param_store()
        self.pyro.set_rng_seed(0)
        return self.infer.fit(model, guide, num_steps, progress=False, **options)

    def log_evidence(self, model, guide, num_samples: int, *args, seed=0, **options):
        self.pyro.set_rng_seed(seed)
        return self.infer.log_evidence(model, guide, num_samples, args=args, **options)


class NumPyroBounds:
    """Values and gradients of bounds on NumPyro."""

    def __init__(self):
        self.backend = make_backend("numpyro")
        self.jax, self.jnp, self.dist = self.backend.jax, self.backend.jnp, self.backend.dist
        self.numpyro, self.infer = self.backend.numpyro, self.backend.load("infer")
        self.sample, self.plate = self.numpyro.sample, self.numpyro.plate
        self.param, self.handlers = self.numpyro.param, self.numpyro.handlers
        self.stack, self.exp, self.where = self.jnp.stack, self.jnp.exp, self.jnp.where
        self.hosts_elbo = self.numpyro.infer.Trace_ELBO

    def array(self, value):
        return self.backend.array(value)

    def part(self, size: int, rows: int):
        """A data plate of which some rows are there."""
        return self.plate("data", size, subsample_size=rows)

    def loss(self, elbo, model, guide, *args, seed=0, **kwargs) -> float:
        elbo = getattr(elbo, "evaluation", elbo)
        key = self.jax.random.key(seed)
        found = self.jax.jit(lambda key: elbo.loss(key, {}, model, guide, *args, **kwargs))(key)
        return float(found)

    def grads(self, elbo, start: dict, model, guide, *args, seed=0, **kwargs):
        """The loss, and its gradients by parameter of real support."""

        def loss(params):
            return elbo.loss(self.jax.random.key(seed), params, model, guide, *args, **kwargs)

        start = {name: self.array(value) for name, value in start.items()}
        value, found = self.jax.jit(self.jax.value_and_grad(loss))(start)
        return float(value), {name: np.asarray(g) for name, g in found.items()}

    def many_grads(self, elbo, start: dict, model, guide, count: int):
        """Losses and gradients of many seeds."""

        def loss(params, key):
            return elbo.loss(key, params, model, guide)

        start = {name: self.array(value) for name, value in start.items()}
        keys = self.jax.random.split(self.jax.random.key(0), count)
        run = self.jax.jit(self.jax.vmap(self.jax.value_and_grad(loss), in_axes=(None, 0)))
        losses, found = run(start, keys)
        return np.asarray(losses), {name: np.asarray(g) for name, g in found.items()}

    def train(self, elbo, model, guide, num_steps: int, *args, rate=0.02) -> dict:
        svi = self.numpyro.infer.SVI(model, guide, self.numpyro.optim.Adam(rate), elbo)
        result = svi.run(self.jax.random.key(0), num_steps, *args, progress_bar=False)
        return {name: np.asarray(value) for name, value in result.params.items()}

    def fit(self, model, guide, num_steps: int, **options):
        key = self.jax.random.key(0)
        return self.infer.fit(key, model, guide, num_steps, progress=False, **options)

    def log_evidence(self, model, guide, num_samples: int, *args, seed=0, **options):
        key = self.jax.random.key(seed)
        return self.infer.log_evidence(key, model, guide, {}, num_samples, args=args, **options)


ADAPTERS = {"pyro": PyroBounds, "numpyro": NumPyroBounds}


def normal(x, loc, scale):
    """Log density of a normal distribution."""
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * LOG_2_PI


def renyi(log_weights: np.ndarray, alpha: float) -> np.ndarray:
    """The bound over the first dimension, as it is defined."""
    if alpha == 1.0:
        return log_weights.mean(0)
    order = 1.0 - alpha
    return (logsumexp(order * log_weights, 0) - math.log(len(log_weights))) / order


def over_normals(function, num_particles: int, num_nodes: int = 48) -> float:
    """Expectation of a function of standard normal draws, shape ``(K, number of points)``."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    points = np.stack([g.ravel() for g in np.meshgrid(*[nodes] * num_particles)])
    mass = np.stack([g.ravel() for g in np.meshgrid(*[weights] * num_particles)]).prod(0)
    return float((function(points) * mass).sum() / mass.sum())


def derivative(function, at: dict, name: str, step: float = 1e-4) -> float:
    """Central difference of a function of a dictionary."""
    up, down = ({**at, name: at[name] + sign * step} for sign in (1.0, -1.0))
    return (function(up) - function(down)) / (2.0 * step)


def over_bits(function, probability: float, num_particles: int) -> float:
    """Expectation of a function of independent bits, shape ``(K, 2^K)``."""
    bits = np.array(list(itertools.product((0.0, 1.0), repeat=num_particles))).T
    mass = np.where(bits == 1.0, probability, 1.0 - probability).prod(0)
    return float((function(bits) * mass).sum())


def within(values: np.ndarray, expected: float, num_errors: float = 5.0) -> None:
    """The mean of independent values is as expected."""
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean() - expected) < num_errors * error + 1e-9, (
        values.mean(),
        expected,
        error,
    )


__all__ = [
    "ADAPTERS",
    "derivative",
    "normal",
    "over_bits",
    "over_normals",
    "renyi",
    "softmax",
    "within",
]
