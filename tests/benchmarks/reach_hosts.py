"""One host each for the reach table: build the default guide, train it, and look at it."""

import warnings

import numpy as np

__all__ = ["HOSTS"]


class PyroHost:
    """The journey on Pyro, in double precision."""

    def __init__(self, seed: int):
        import pyro
        import pyro.distributions as dist
        import torch

        from pyro_deepgen import infer
        from pyro_deepgen.compare.problems import PROBLEMS

        torch.set_default_dtype(torch.float64)
        pyro.clear_param_store()
        pyro.set_rng_seed(seed)
        self.math, self.dist, self.problems = torch, dist, PROBLEMS
        self.sample, self.plate, self.factor = pyro.sample, pyro.plate, pyro.factor
        self._infer = infer

    def array(self, value):
        return self.math.as_tensor(np.asarray(value), dtype=self.math.float64)

    def logsumexp(self, terms):
        return self.math.logsumexp(terms, -1)

    def train(self, model, kwargs: dict, num_steps: int):
        self.guide = self._infer.AutoFlow(model, args=(), kwargs=kwargs)
        return self._infer.fit(model, self.guide, num_steps, kwargs=kwargs, progress=False)

    def weigh(self, model, kwargs: dict, num_proposals: int):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._infer.importance_resample(
                model, self.guide, num_proposals=num_proposals, kwargs=kwargs
            )

    def cover(self, model, kwargs: dict):
        return self._infer.coverage(model, self.guide, 1024, kwargs=kwargs)

    def unconstrain(self, values: dict) -> np.ndarray:
        values = {name: self.array(value) for name, value in values.items()}
        return self.guide._space.unconstrain(values)[0].detach().numpy()


class NumPyroHost:
    """The journey on NumPyro, in double precision."""

    def __init__(self, seed: int):
        import jax
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as dist

        from numpyro_deepgen import infer
        from numpyro_deepgen.compare.problems import PROBLEMS

        jax.config.update("jax_enable_x64", True)
        self.math, self.dist, self.problems = jnp, dist, PROBLEMS
        self.sample, self.plate, self.factor = numpyro.sample, numpyro.plate, numpyro.factor
        self._infer, self._logsumexp = infer, jax.scipy.special.logsumexp
        self._keys = iter(jax.random.split(jax.random.key(seed), 4))

    def array(self, value):
        return self.math.asarray(value, "float64")

    def logsumexp(self, terms):
        return self._logsumexp(terms, -1)

    def train(self, model, kwargs: dict, num_steps: int):
        key = next(self._keys)
        self.guide = self._infer.AutoFlow(model, args=(), kwargs=kwargs, rng_key=key)
        key = next(self._keys)
        result = self._infer.fit(key, model, self.guide, num_steps, kwargs=kwargs, progress=False)
        self._params = result.params
        return result

    def weigh(self, model, kwargs: dict, num_proposals: int):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._infer.importance_resample(
                next(self._keys),
                model,
                self.guide,
                self._params,
                num_proposals=num_proposals,
                kwargs=kwargs,
            )

    def cover(self, model, kwargs: dict):
        key = next(self._keys)
        return self._infer.coverage(key, model, self.guide, self._params, 1024, kwargs=kwargs)

    def unconstrain(self, values: dict) -> np.ndarray:
        values = {name: self.array(value) for name, value in values.items()}
        return np.asarray(self.guide._space.unconstrain(values)[0])


HOSTS = {"pyro": PyroHost, "numpyro": NumPyroHost}
