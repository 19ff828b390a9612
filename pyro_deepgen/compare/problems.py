r"""Built-in posteriors: real ones, and one that is known exactly.

References:
    Rubin, "Estimation in parallel randomized experiments", 1981.
    Papaspiliopoulos, Roberts and Skoeld, "A general framework for the parametrization of
    hierarchical models", 2007 (centred and non-centred).
    Carvalho, Polson and Scott, "The horseshoe estimator for sparse signals", 2010.
    Piironen and Vehtari, "Sparsity information and regularization in the horseshoe and other
    shrinkage priors", 2017, section 2.3.
    Neal, "Slice sampling", 2003, section 8.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pyro
import pyro.distributions as dist
import torch

from . import datasets

__all__ = ["PROBLEMS", "Problem"]


@dataclass(frozen=True)
class Problem:
    """A model with its data.

    Args:
        model: the host's model.
        load: gives the data as NumPy arrays by argument name.
        description: one line.
        citation: where model and data come from.
        reference_fn: ``(num_samples, seed) -> site -> draws``, exact and independent, or None.
        settings: what the command line takes unless told otherwise, where the defaults would do
            the problem no justice.
    """

    model: Callable
    load: Callable
    description: str
    citation: str
    reference_fn: Callable | None = None
    settings: dict = field(default_factory=dict)

    @property
    def data(self) -> dict:
        """The model's arguments as NumPy arrays."""
        return self.load()


def eight_schools_centered(sigma, y):
    """Hierarchical normal model with the schools' effects as latent sites."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", sigma.shape[0]):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools(sigma, y):
    """The same posterior with standardised effects as latent sites (non-centred)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", sigma.shape[0]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * z)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def horseshoe_diabetes(x, y):
    """Linear regression with the regularised horseshoe prior, non-centred."""
    num_features = x.shape[-1]
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    tau = pyro.sample("tau", dist.HalfCauchy(0.1))
    slab = pyro.sample("slab", dist.InverseGamma(2.0, 2.0))
    with pyro.plate("features", num_features):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    # Piironen and Vehtari, equation 2.8.
    shrunk = scale * torch.sqrt(slab / (slab + (tau * scale) ** 2))
    beta = pyro.deterministic("beta", z * tau * shrunk)
    with pyro.plate("patients", x.shape[0]):
        pyro.sample("y", dist.Normal(beta @ x.mT, noise), obs=y)


def logistic_breast_cancer(x, y):
    """Logistic regression with normal priors."""
    intercept = pyro.sample("intercept", dist.Normal(0.0, 2.0))
    with pyro.plate("features", x.shape[-1]):
        beta = pyro.sample("beta", dist.Normal(0.0, 1.0))
    with pyro.plate("tumours", x.shape[0]):
        pyro.sample("y", dist.Bernoulli(logits=intercept + beta @ x.mT), obs=y)


def funnel():
    """Neal's funnel in ten dimensions: the scale of nine normals is itself latent."""
    v = pyro.sample("v", dist.Normal(0.0, datasets.FUNNEL_SCALE))
    with pyro.plate("dims", datasets.FUNNEL_DIM):
        pyro.sample("x", dist.Normal(0.0, torch.exp(v / 2.0)))


PROBLEMS = {
    "eight_schools_centered": Problem(
        eight_schools_centered,
        datasets.eight_schools,
        "eight schools, centred: 10 dimensions, a funnel that NUTS cannot enter",
        "Rubin 1981",
        partial(datasets.eight_schools_draws, centered=True),
    ),
    "eight_schools": Problem(
        eight_schools,
        datasets.eight_schools,
        "eight schools, non-centred: 10 dimensions",
        "Rubin 1981",
        partial(datasets.eight_schools_draws, centered=False),
    ),
    "horseshoe_diabetes": Problem(
        horseshoe_diabetes,
        datasets.diabetes,
        "regularised horseshoe regression on diabetes data: 23 dimensions",
        "Efron et al. 2004; Piironen and Vehtari 2017",
        settings={"num_warmup": 500, "target_accept_prob": 0.98},
    ),
    "logistic_breast_cancer": Problem(
        logistic_breast_cancer,
        datasets.breast_cancer,
        "logistic regression on breast cancer data: 31 dimensions",
        "Street et al. 1993",
    ),
    "funnel": Problem(
        funnel,
        dict,
        "Neal's funnel: 10 dimensions, known exactly",
        "Neal 2003",
        datasets.funnel_draws,
    ),
}
