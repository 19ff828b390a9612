"""The same guide journeys on both hosts: one small adapter each, and models with known answers."""

import math
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np

# annealing costs seconds a guide: tests/test_annealing.py has it
GAUSSIAN_STARTS = ("init_loc", "laplace", "mean_field", "pathfinder")

# A conjugate regression on badly scaled features, whose evidence is known in closed form.
_RNG = np.random.default_rng(0)
NUM_ROWS, NUM_FEATURES = 40, 6
FEATURE_SCALES = np.logspace(-3, 3, NUM_FEATURES)
FEATURES = _RNG.normal(size=(NUM_ROWS, NUM_FEATURES)) * FEATURE_SCALES
FEATURES[:, 1] += 0.99 * FEATURES[:, 0] * FEATURE_SCALES[1] / FEATURE_SCALES[0]
PRIOR_SCALES = 3.0 / FEATURE_SCALES
TARGET = FEATURES @ (_RNG.normal(size=NUM_FEATURES) / FEATURE_SCALES) + _RNG.normal(size=NUM_ROWS)


def regression_evidence() -> float:
    covariance = np.eye(NUM_ROWS) + (FEATURES * PRIOR_SCALES**2) @ FEATURES.T
    _, log_det = np.linalg.slogdet(covariance)
    quadratic = TARGET @ np.linalg.solve(covariance, TARGET)
    return -0.5 * (quadratic + log_det + NUM_ROWS * math.log(2 * math.pi))


def regression_posterior() -> tuple[np.ndarray, np.ndarray]:
    precision = FEATURES.T @ FEATURES + np.diag(PRIOR_SCALES**-2)
    covariance = np.linalg.inv(precision)
    return covariance @ FEATURES.T @ TARGET, np.sqrt(np.diag(covariance))


class PyroGuides:
    """The journey on Pyro."""

    name = "pyro"

    def __init__(self):
        import pyro
        import pyro.distributions as dist
        import torch

        self.pyro, self.torch, self.dist = pyro, torch, dist
        from pyro_deepgen import distributions
        from pyro_deepgen.infer import AutoFlow

        self.AutoFlow, self.recipes = partial(AutoFlow, init=GAUSSIAN_STARTS), distributions
        pyro.clear_param_store()
        pyro.set_rng_seed(0)

    @contextmanager
    def float64(self):
        before = self.torch.get_default_dtype()
        self.torch.set_default_dtype(self.torch.float64)
        try:
            yield self
        finally:
            self.torch.set_default_dtype(before)
            self.pyro.clear_param_store()

    def array(self, value):
        return self.torch.as_tensor(np.asarray(value), dtype=self.torch.float64)

    def numpy(self, value):
        return value.detach().numpy()

    def sample(self, *args, **kwargs):
        return self.pyro.sample(*args, **kwargs)

    def plate(self, *args, **kwargs):
        return self.pyro.plate(*args, **kwargs)

    def matmul(self, matrix, vector):
        return vector @ matrix.T

    def init_to_value(self, values):
        from pyro.infer.autoguide.initialization import init_to_value

        return init_to_value(values=values)

    def fit(self, model, guide, num_steps, learning_rate=5e-3, num_particles=64, vectorize=True):
        from pyro.infer import SVI, Trace_ELBO

        elbo = Trace_ELBO(num_particles, vectorize_particles=vectorize, max_plate_nesting=1)
        svi = SVI(model, guide, self.pyro.optim.ClippedAdam({"lr": learning_rate}), elbo)
        losses = [svi.step() for _ in range(num_steps)]
        return SimpleNamespace(guide=guide, losses=np.array(losses), model=model)

    def draws(self, fitted, count):
        return {k: self.numpy(v) for k, v in fitted.guide.sample_posterior((count,)).items()}

    def median(self, fitted):
        return {k: self.numpy(v) for k, v in fitted.guide.median().items()}

    def quantiles(self, fitted, levels):
        return {k: self.numpy(v) for k, v in fitted.guide.quantiles(levels).items()}

    def log_density(self, fitted, samples):
        values = {k: self.array(v) for k, v in samples.items()}
        return self.numpy(fitted.guide.log_density(values))

    def unconstrained_log_prob(self, fitted, z):
        return self.numpy(fitted.guide.get_posterior().log_prob(self.array(z)))

    def elbo(self, fitted, count):
        from pyro.infer import Trace_ELBO

        with self.torch.no_grad():
            return -Trace_ELBO(count).loss(fitted.model, fitted.guide)

    def predictive(self, fitted, model, count):
        from pyro.infer import Predictive

        return {
            k: self.numpy(v)
            for k, v in Predictive(model, guide=fitted.guide, num_samples=count)().items()
        }

    def neutra(self, fitted, num_warmup, num_samples):
        from pyro.infer import MCMC, NUTS
        from pyro.infer.reparam import NeuTraReparam
        from pyro.poutine import reparam

        transport = NeuTraReparam(fitted.guide.requires_grad_(False))
        model = reparam(fitted.model, config=lambda _: transport)
        mcmc = MCMC(NUTS(model), num_samples, warmup_steps=num_warmup, disable_progbar=True)
        mcmc.run()
        (latent,) = mcmc.get_samples().values()
        with self.torch.no_grad():
            values = transport.transform_sample(latent.unsqueeze(-2))
        return {k: self.numpy(v) for k, v in values.items()}


class NumPyroGuides:
    """The journey on NumPyro."""

    name = "numpyro"

    def __init__(self):
        import jax
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as dist

        self.jax, self.jnp, self.numpyro, self.dist = jax, jnp, numpyro, dist
        from numpyro_deepgen import distributions
        from numpyro_deepgen.infer import AutoFlow

        self.AutoFlow, self.recipes = partial(AutoFlow, init=GAUSSIAN_STARTS), distributions

    @contextmanager
    def float64(self):
        # compiling takes most of the time of these tests
        settings = {"jax_enable_x64": True, "jax_disable_most_optimizations": True}
        before = {name: self.jax.config.values[name] for name in settings}
        try:
            for name, value in settings.items():
                self.jax.config.update(name, value)
            yield self
        finally:
            for name, value in before.items():
                self.jax.config.update(name, value)

    def array(self, value):
        return self.jnp.asarray(value)

    def numpy(self, value):
        return np.asarray(value)

    def sample(self, *args, **kwargs):
        return self.numpyro.sample(*args, **kwargs)

    def plate(self, *args, **kwargs):
        return self.numpyro.plate(*args, **kwargs)

    def matmul(self, matrix, vector):
        return vector @ matrix.T

    def init_to_value(self, values):
        from numpyro.infer.initialization import init_to_value

        return init_to_value(values=values)

    def fit(self, model, guide, num_steps, learning_rate=5e-3, num_particles=64, vectorize=True):
        from numpyro.infer import SVI, Trace_ELBO

        optim = self.numpyro.optim.ClippedAdam(learning_rate)
        elbo = Trace_ELBO(num_particles, vectorize_particles=vectorize)
        svi = SVI(model, guide, optim, elbo)
        result = svi.run(self.jax.random.key(0), num_steps, progress_bar=False)
        losses = np.asarray(result.losses)
        return SimpleNamespace(guide=guide, params=result.params, losses=losses, model=model)

    def draws(self, fitted, count):
        key = self.jax.random.key(1)
        draws = fitted.guide.sample_posterior(key, fitted.params, sample_shape=(count,))
        return {k: np.asarray(v) for k, v in draws.items()}

    def median(self, fitted):
        return {k: np.asarray(v) for k, v in fitted.guide.median(fitted.params).items()}

    def quantiles(self, fitted, levels):
        values = fitted.guide.quantiles(fitted.params, levels)
        return {k: np.asarray(v) for k, v in values.items()}

    def log_density(self, fitted, samples):
        values = {k: self.array(v) for k, v in samples.items()}
        return np.asarray(fitted.guide.log_density(fitted.params, values))

    def unconstrained_log_prob(self, fitted, z):
        return np.asarray(fitted.guide.get_posterior(fitted.params).log_prob(self.array(z)))

    def elbo(self, fitted, count):
        from numpyro.infer import Trace_ELBO

        loss = Trace_ELBO(count).loss
        return -float(loss(self.jax.random.key(2), fitted.params, fitted.model, fitted.guide))

    def predictive(self, fitted, model, count):
        from numpyro.infer import Predictive

        draw = Predictive(model, guide=fitted.guide, params=fitted.params, num_samples=count)
        return {k: np.asarray(v) for k, v in draw(self.jax.random.key(3)).items()}

    def neutra(self, fitted, num_warmup, num_samples):
        from numpyro.infer import MCMC, NUTS
        from numpyro.infer.reparam import NeuTraReparam

        transport = NeuTraReparam(fitted.guide, fitted.params)
        kernel = NUTS(transport.reparam(fitted.model))
        mcmc = MCMC(kernel, num_warmup=num_warmup, num_samples=num_samples, progress_bar=False)
        mcmc.run(self.jax.random.key(4))
        values = transport.transform_sample(mcmc.get_samples()["auto_shared_latent"])
        return {k: np.asarray(v) for k, v in values.items()}


ADAPTERS = {"pyro": PyroGuides, "numpyro": NumPyroGuides}
