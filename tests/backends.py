"""Thin adapters: one vocabulary for the tests on both hosts."""

import importlib
import inspect
import os
import tempfile
from contextlib import contextmanager
from functools import cache

import numpy as np
import safetensors.numpy

__all__ = ["BACKENDS", "is_constant", "make_backend"]

# arrays that are saved but not trained
CONSTANTS = ("loc", "scale", "mean", "variance", "initialized", "size")


def is_constant(name: str) -> bool:
    """Whether the array of this name is saved but not trained."""
    return name.rsplit(".")[-1] in CONSTANTS


class Backend:
    """What the two adapters share: modules by name, and networks with given weights."""

    package: str

    def __init__(self):
        self.D = self.load("distributions")
        self.T = self.load("distributions.transforms")
        self.nn = self.load("nn")
        self.io = self.load("io")

    def load(self, name: str):
        return importlib.import_module(f"{self.package}.{name}")

    def named(self, module) -> dict[str, np.ndarray]:
        """The module's arrays by name, as saved."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "module")
            self.io.save(path, module)
            return safetensors.numpy.load_file(path)

    def fill(self, module, arrays: dict[str, np.ndarray]):
        """The module with these arrays."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "module")
            safetensors.numpy.save_file(arrays, path)
            return self.io.load(path, module)

    def perturbed(self, module, scale: float = 0.2, seed: int = 0):
        """The module with normal noise added to its parameters, the same on both hosts."""
        rng = np.random.default_rng(seed)
        arrays = self.named(module)
        for name in sorted(arrays):
            if not is_constant(name):
                noise = scale * rng.standard_normal(arrays[name].shape)
                arrays[name] = (arrays[name] + noise).astype(arrays[name].dtype)
        return self.fill(module, arrays)


class PyroBackend(Backend):
    name, package = "pyro", "pyro_deepgen"

    def __init__(self):
        import pyro
        import torch

        super().__init__()
        self.pyro, self.torch, self.dist = pyro, torch, pyro.distributions
        self.sin, self.sample, self.plate = torch.sin, pyro.sample, pyro.plate
        self.module = pyro.module

    @contextmanager
    def precision(self, bits: int):
        before = self.torch.get_default_dtype()
        validate_args = self.torch.distributions.Distribution._validate_args
        self.torch.set_default_dtype(getattr(self.torch, f"float{bits}"))
        self.pyro.clear_param_store()
        try:
            yield self
        finally:
            self.torch.set_default_dtype(before)
            # torch.compile switches it off
            self.torch.distributions.Distribution.set_default_validate_args(validate_args)
            self.pyro.clear_param_store()

    def make(self, build, *args, **kwargs):
        """Build with a fixed seed."""
        with self.torch.random.fork_rng():
            self.torch.manual_seed(0)
            return build(*args, **kwargs)

    def array(self, value):
        return self.torch.as_tensor(np.asarray(value), dtype=self.torch.get_default_dtype())

    def numpy(self, array) -> np.ndarray:
        return array.detach().numpy()

    def apply(self, module, method: str, *args):
        """The method's results as NumPy arrays."""
        with self.torch.no_grad():
            return tuple(self.numpy(a) for a in getattr(module, method)(*args))

    def jacobian(self, module, method: str, x, context=None) -> np.ndarray:
        def image(x):
            return getattr(module, method)(x, context)[0]

        return self.numpy(self.torch.autograd.functional.jacobian(image, x))

    def grads(self, fn, module, *arrays):
        """Gradients of ``fn(module, *arrays)``: by parameter name, and of every array."""
        arrays = [None if a is None else a.clone().requires_grad_() for a in arrays]
        named = dict(module.named_parameters())
        leaves = [*named.values(), *(a for a in arrays if a is not None)]
        found = self.torch.autograd.grad(fn(module, *arrays), leaves, allow_unused=True)
        zeros = self.torch.zeros_like
        found = [
            self.numpy(zeros(a) if g is None else g) for a, g in zip(leaves, found, strict=True)
        ]
        return dict(zip(named, found, strict=False)), found[len(named) :]

    def run(self, fn, *args):
        """The function's results as NumPy arrays."""
        with self.torch.no_grad():
            return tuple(self.numpy(a) for a in fn(*args))

    def draw(self, d, sample_shape=(), seed: int = 0) -> np.ndarray:
        return self.draw_and_score(d, sample_shape, seed)[0]

    def draw_and_score(self, d, sample_shape=(), seed: int = 0):
        """A sample and its score in one pass."""
        with self.torch.random.fork_rng(), self.torch.no_grad():
            self.torch.manual_seed(seed)
            x = d.sample(self.torch.Size(sample_shape))
            return self.numpy(x), self.numpy(d.log_prob(x))

    def score(self, d, x) -> np.ndarray:
        with self.torch.no_grad():
            return self.numpy(d.log_prob(self.array(x)))

    def log_joint(self, model, values: dict) -> float:
        model = self.pyro.condition(model, {k: self.array(v) for k, v in values.items()})
        return float(self.pyro.poutine.trace(model).get_trace().log_prob_sum().detach())

    def fit(self, model, guide, flow, num_steps: int, learning_rate: float = 5e-3):
        """Train by SVI; returns the trained flow and the losses."""
        infer, optim = self.pyro.infer, self.pyro.optim
        self.pyro.clear_param_store()
        with self.torch.random.fork_rng():
            self.torch.manual_seed(0)
            elbo = infer.Trace_ELBO(num_particles=4, vectorize_particles=True)
            svi = infer.SVI(model, guide, optim.Adam({"lr": learning_rate}), elbo)
            losses = [svi.step() for _ in range(num_steps)]
        return flow, np.array(losses)

    def nuts(self, model, num_warmup: int, num_samples: int) -> dict[str, np.ndarray]:
        infer = self.pyro.infer
        with self.torch.random.fork_rng():
            self.torch.manual_seed(0)
            mcmc = infer.MCMC(infer.NUTS(model), num_samples, num_warmup, disable_progbar=True)
            mcmc.run()
        return {k: self.numpy(v) for k, v in mcmc.get_samples().items()}

    def predictive(self, model, num_samples: int, guide=None) -> dict[str, np.ndarray]:
        predictive = self.pyro.infer.Predictive(model, guide=guide, num_samples=num_samples)
        with self.torch.random.fork_rng():
            return {k: self.numpy(v) for k, v in predictive().items()}


class NumPyroBackend(Backend):
    name, package = "numpyro", "numpyro_deepgen"

    def __init__(self):
        import jax
        import jax.numpy as jnp
        import numpyro
        from numpyro.contrib.module import eqx_module

        super().__init__()
        self.jax, self.jnp, self.numpyro, self.dist = jax, jnp, numpyro, numpyro.distributions
        self.sin, self.sample, self.plate = jnp.sin, numpyro.sample, numpyro.plate
        self.module = eqx_module
        self._jitted = cache(self._jitted)
        self._jitted_jacobian = cache(self._jitted_jacobian)

    @contextmanager
    def precision(self, bits: int):
        config, names = self.jax.config, ("jax_enable_x64", "jax_disable_most_optimizations")
        before = {name: config.values[name] for name in names}
        config.update("jax_enable_x64", bits == 64)
        # most of the time goes into compiling small programs that run once
        config.update("jax_disable_most_optimizations", True)
        try:
            yield self
        finally:
            for name, value in before.items():
                config.update(name, value)

    def key(self, seed: int = 0):
        return self.jax.random.key(seed)

    def make(self, build, *args, **kwargs):
        if "rng_key" in inspect.signature(build).parameters:
            args = (self.key(), *args)
        return build(*args, **kwargs)

    def array(self, value):
        return self.jnp.asarray(np.asarray(value), dtype=float)

    def numpy(self, array) -> np.ndarray:
        return np.asarray(array)

    def _jitted(self, method: str):
        return self.jax.jit(lambda module, *args: getattr(module, method)(*args))

    def apply(self, module, method: str, *args):
        return tuple(self.numpy(a) for a in self._jitted(method)(module, *args))

    def _jitted_jacobian(self, method: str):
        def jacobian(module, x, context):
            return self.jax.jacrev(lambda x: getattr(module, method)(x, context)[0])(x)

        return self.jax.jit(jacobian)

    def jacobian(self, module, method: str, x, context=None) -> np.ndarray:
        return self.numpy(self._jitted_jacobian(method)(module, x, context))

    def grads(self, fn, module, *arrays):
        argnums = tuple(range(1 + len(arrays)))
        gradient, *rest = self.jax.jit(self.jax.grad(fn, argnums))(module, *arrays)
        return self.named(gradient), [self.numpy(g) for g in rest if g is not None]

    def run(self, fn, *args):
        return tuple(self.numpy(a) for a in self.jax.jit(fn)(*args))

    def draw(self, d, sample_shape=(), seed: int = 0) -> np.ndarray:
        return self.draw_and_score(d, sample_shape, seed)[0]

    def draw_and_score(self, d, sample_shape=(), seed: int = 0):
        def both(d, key):
            x, intermediates = d.sample_with_intermediates(key, tuple(sample_shape))
            # as the host does: intermediates only where there are some
            return x, d.log_prob(x, intermediates) if intermediates else d.log_prob(x)

        return tuple(self.numpy(a) for a in self.jax.jit(both)(d, self.key(seed)))

    def score(self, d, x) -> np.ndarray:
        return self.numpy(self._jitted("log_prob")(d, self.array(x)))

    def log_joint(self, model, values: dict) -> float:
        values = {k: self.array(v) for k, v in values.items()}
        model = self.numpyro.handlers.seed(model, 0)
        return float(self.numpyro.infer.util.log_density(model, (), {}, values)[0])

    def fit(self, model, guide, flow, num_steps: int, learning_rate: float = 5e-3):
        import equinox as eqx

        infer = self.numpyro.infer
        elbo = infer.Trace_ELBO(num_particles=4)
        svi = infer.SVI(model, guide, self.numpyro.optim.Adam(learning_rate), elbo)
        result = svi.run(self.key(), num_steps, progress_bar=False)
        return eqx.combine(result.params["flow$params"], flow), np.asarray(result.losses)

    def nuts(self, model, num_warmup: int, num_samples: int) -> dict[str, np.ndarray]:
        infer = self.numpyro.infer
        mcmc = infer.MCMC(
            infer.NUTS(model),
            num_warmup=num_warmup,
            num_samples=num_samples,
            progress_bar=False,
        )
        mcmc.run(self.key())
        return {k: self.numpy(v) for k, v in mcmc.get_samples().items()}

    def predictive(self, model, num_samples: int, guide=None) -> dict[str, np.ndarray]:
        params = None if guide is None else {}
        predictive = self.numpyro.infer.Predictive(
            model, guide=guide, params=params, num_samples=num_samples
        )
        return {k: self.numpy(v) for k, v in predictive(self.key()).items()}


BACKENDS = {"pyro": PyroBackend, "numpyro": NumPyroBackend}


@cache
def make_backend(name: str) -> Backend:
    return BACKENDS[name]()
