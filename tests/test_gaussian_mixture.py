"""The Bayesian mixture of normal distributions: scikit-learn's bound, Monte Carlo, SVI and NUTS."""

import math
import re

import numpy as np
import pytest
from guides import ADAPTERS
from scipy.special import gammaln, multigammaln
from sklearn.datasets import load_iris
from sklearn.mixture import BayesianGaussianMixture as Peer

from pyro_deepgen._numerics.mixture_settings import mixture_prior
from pyro_deepgen._numerics.variational_mixture import coordinate_ascent

SETTINGS = {"concentration": 0.7, "loc_precision": 0.3, "degrees": 3.5}


def faithful_like() -> np.ndarray:
    """Two clusters as in the eruptions of Old Faithful, standardised."""
    rng = np.random.default_rng(0)
    short = rng.multivariate_normal([2.0, 54.0], [[0.07, 0.45], [0.45, 34.0]], 97)
    long = rng.multivariate_normal([4.3, 80.0], [[0.17, 0.94], [0.94, 36.0]], 175)
    x = np.concatenate([short, long])
    return (x - x.mean(0)) / x.std(0)


X = faithful_like()


class PyroMixtures(ADAPTERS["pyro"]):
    def pair(self, *args, **options):
        from pyro_deepgen.models import BayesianGaussianMixture

        return BayesianGaussianMixture(*args, **options)

    def draws(self, pair, x, count):
        """Draws of the guide with the log densities of parameters in model and guide."""
        from pyro import poutine

        found = []
        for _ in range(count):
            guide = poutine.trace(pair.guide).get_trace(x)
            model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(x)
            values = {
                name: self.numpy(guide.nodes[name]["value"])
                for name in ("weights", "precision_tril", "loc")
            }
            for trace, kind in ((model, "model"), (guide, "guide")):
                trace.compute_log_prob()
                values[kind] = sum(
                    trace.nodes[n]["log_prob_sum"].item()
                    for n in ("weights", "precision_tril", "loc")
                )
            values["x"] = model.nodes["x"]["log_prob_sum"].item()
            found.append(values)
        return found

    def train(self, pair, x, num_steps):
        from pyro_deepgen.infer import fit

        fit(
            pair.model,
            pair.guide,
            num_steps,
            args=(x,),
            learning_rate=0.02,
            progress=False,
        )
        return self.pyro.get_param_store()

    def nuts(self, pair, x, start):
        from pyro.infer import MCMC, NUTS
        from pyro.infer.autoguide import init_to_value

        values = {k: self.array(v) for k, v in start.items()}
        kernel = NUTS(pair.model, init_strategy=init_to_value(values=values))
        mcmc = MCMC(kernel, num_samples=150, warmup_steps=100, disable_progbar=True)
        mcmc.run(x)
        return {name: self.numpy(value) for name, value in mcmc.get_samples().items()}

    def rows(self, pair, posterior, count):
        return self.numpy(pair.sample(count, posterior))


class NumPyroMixtures(ADAPTERS["numpyro"]):
    def pair(self, *args, **options):
        from numpyro_deepgen.models import BayesianGaussianMixture

        return BayesianGaussianMixture(*args, **options)

    def draws(self, pair, x, count):
        from numpyro import handlers

        names = ("weights", "precision_tril", "loc")

        def run(key):
            guide = handlers.trace(handlers.seed(pair.guide, key)).get_trace(x)
            replayed = handlers.replay(handlers.seed(pair.model, key), guide)
            model = handlers.trace(replayed).get_trace(x)
            total = lambda trace, chosen: sum(  # noqa: E731
                trace[n]["fn"].log_prob(trace[n]["value"]).sum() for n in chosen
            )
            values = {name: guide[name]["value"] for name in names}
            densities = {"model": total(model, names), "guide": total(guide, names)}
            return values | densities | {"x": total(model, ["x"])}

        keys = self.jax.random.split(self.jax.random.key(0), count)
        found = self.jax.jit(self.jax.vmap(run))(keys)
        found = {name: np.asarray(value) for name, value in found.items()}
        return [{name: value[i] for name, value in found.items()} for i in range(count)]

    def train(self, pair, x, num_steps):
        from numpyro_deepgen.infer import fit

        key, options = (
            self.jax.random.key(0),
            {"learning_rate": 0.02, "progress": False},
        )
        return fit(key, pair.model, pair.guide, num_steps, args=(x,), **options).params

    def nuts(self, pair, x, start):
        from numpyro.infer import MCMC, NUTS, init_to_value

        kernel = NUTS(pair.model, init_strategy=init_to_value(values=start))
        mcmc = MCMC(kernel, num_warmup=100, num_samples=150, progress_bar=False)
        mcmc.run(self.jax.random.key(0), x)
        return {name: np.asarray(value) for name, value in mcmc.get_samples().items()}

    def rows(self, pair, posterior, count):
        return np.asarray(pair.sample(self.jax.random.key(0), count, posterior))


HOSTS = {"pyro": PyroMixtures, "numpyro": NumPyroMixtures}


@pytest.fixture(params=HOSTS)
def host(request):
    with HOSTS[request.param]().float64() as host:
        yield host


@pytest.mark.parametrize("seed", [0, 1])
def test_the_bound_is_that_of_scikit_learn(seed):
    x = load_iris().data
    size, dim = x.shape
    count, alpha, beta, nu = 4, 0.7, 0.3, dim + 1.5
    covariance = np.cov(x.T)
    peer = Peer(
        n_components=count,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=alpha,
        mean_precision_prior=beta,
        mean_prior=x.mean(0),
        degrees_of_freedom_prior=nu,
        covariance_prior=covariance,
        reg_covar=0.0,
        tol=1e-12,
        max_iter=3000,
        random_state=seed,
    ).fit(x)
    prior = mixture_prior(count, dim, alpha, x.mean(0), beta, nu, np.linalg.inv(covariance))
    found = coordinate_ascent(
        x,
        prior,
        np.random.default_rng(0),
        tolerance=1e-13,
        responsibilities=peer.predict_proba(x),
    )
    # what scikit-learn leaves out: normalisers of the prior and of the likelihood
    constant = gammaln(count * alpha) - count * gammaln(alpha)
    constant += 0.5 * count * dim * math.log(beta) - 0.5 * size * dim * math.log(2 * math.pi)
    log_wishart = 0.5 * nu * np.linalg.slogdet(covariance)[1] - multigammaln(0.5 * nu, dim)
    constant += count * (log_wishart - 0.5 * nu * dim * math.log(2.0))
    # its own normaliser of a Wishart lacks pi^(D (D - 1) / 4) and takes its degrees of freedom out
    constant += 0.25 * count * dim * (dim - 1) * math.log(math.pi)
    alphas = peer.weight_concentration_
    constant += -gammaln(alphas.sum()) + gammaln(alphas).sum() - _log_dirichlet_of_peer(alphas)
    assert found.bound == pytest.approx(peer.lower_bound_ + constant, abs=1e-5)
    np.testing.assert_allclose(found.locs, peer.means_, atol=1e-5)
    np.testing.assert_allclose(found.weights, peer.weights_, atol=1e-6)
    np.testing.assert_allclose(found.degrees, peer.degrees_of_freedom_, atol=1e-5)
    covariances = np.linalg.inv(found.degrees[:, None, None] * found.scale_matrices)
    np.testing.assert_allclose(covariances, peer.covariances_, atol=1e-5)


def _log_dirichlet_of_peer(alphas):
    return gammaln(alphas).sum() - gammaln(alphas.sum())


def test_the_bound_never_falls_and_more_starts_do_not_hurt():
    prior = mixture_prior(6, 2, None, None, 1.0, None, None)
    one = coordinate_ascent(X, prior, np.random.default_rng(0))
    many = coordinate_ascent(X, prior, np.random.default_rng(0), num_starts=8)
    assert (np.diff(one.bounds) > -1e-9).all() and one.converged
    assert many.bound >= one.bound
    np.testing.assert_allclose(many.responsibilities.sum(-1), 1.0)


def log_normals(draw, x):
    """Log densities of the components at the data, from a draw of their parameters."""
    tril = draw["precision_tril"]
    noise = np.einsum("kji,nkj->nki", tril, x[:, None] - draw["loc"])
    log_dets = np.log(np.diagonal(tril, axis1=-2, axis2=-1)).sum(-1)
    return log_dets - x.shape[-1] / 2 * math.log(2 * math.pi) - 0.5 * (noise**2).sum(-1)


@pytest.mark.compiles
def test_the_bound_is_the_log_ratio_at_draws_of_the_guide(host):
    x = host.array(X[::4])
    found = host.pair(3, 2, **SETTINGS).coordinate_ascent(x, num_starts=3)
    pair = host.pair(3, 2, start=found, **SETTINGS)
    resp = found.responsibilities
    values = []
    for draw in host.draws(pair, x, 20):
        joint = np.log(draw["weights"]).reshape(-1) + log_normals(draw, X[::4])
        local = (resp * (joint - np.log(np.maximum(resp, 1e-300)))).sum()
        values.append(local + draw["model"] - draw["guide"])
        assert draw["x"] == pytest.approx(np.logaddexp.reduce(joint, -1).sum(), abs=1e-6)
    # at the optimum for these responsibilities the log ratio does not vary at all
    np.testing.assert_allclose(values, found.bound, atol=1e-6)


def test_pyro_enumerates_the_assignments():
    from pyro.infer import TraceEnum_ELBO

    with PyroMixtures().float64() as host:
        x = host.array(X[::8])
        options = {"assignments": "enumerated", **SETTINGS}
        found = host.pair(2, 2, **options).coordinate_ascent(x, num_starts=3)
        pair = host.pair(2, 2, start=found, **options)
        elbo = TraceEnum_ELBO(max_plate_nesting=1)
        losses = [-elbo.loss(pair.model, pair.guide, x) for _ in range(300)]
        error = np.std(losses) / math.sqrt(len(losses))
        assert np.mean(losses) == pytest.approx(found.bound, abs=5 * error)


def test_the_factor_of_a_wishart_matrix_is_the_other_hosts():
    import jax.numpy as jnp
    import torch
    from numpyro.distributions import WishartCholesky as Other

    from pyro_deepgen.distributions._wishart import WishartCholesky

    with PyroMixtures().float64() as host, NumPyroMixtures().float64():
        scale_tril = np.linalg.cholesky(np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 3]]))
        ours = WishartCholesky(torch.tensor([4.5, 7.0]), host.array(scale_tril))
        torch.manual_seed(0)
        draws = ours.rsample((4000,))
        theirs = Other(jnp.array([4.5, 7.0]), scale_tril=jnp.array(scale_tril))
        expected = theirs.log_prob(jnp.asarray(draws[:5].numpy()))
        np.testing.assert_allclose(ours.log_prob(draws[:5]).numpy(), expected, rtol=1e-10)
        mean = (draws @ draws.mT).mean(0)
        exact = np.array([4.5, 7.0])[:, None, None] * (scale_tril @ scale_tril.T)
        np.testing.assert_allclose(mean.numpy(), exact, atol=0.6)


@pytest.mark.compiles
def test_new_data_and_responsibilities(host):
    x = host.array(X)
    pair = host.pair(5, 2)
    found = pair.coordinate_ascent(x)
    assert found.weights[:2].sum() > 0.97 and (np.diff(found.concentration) <= 0).all()
    np.testing.assert_allclose(host.numpy(pair.encode(x, found)), found.responsibilities, atol=1e-4)
    # an empty component keeps the tails of the prior
    pair = host.pair(2, 2, degrees=6.0)
    found = pair.coordinate_ascent(x)
    new = host.rows(pair, found, 4000)
    np.testing.assert_allclose(new.mean(0), X.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(new.T), np.cov(X.T), atol=0.15)
    grid = np.stack(np.meshgrid(*[np.linspace(-6, 6, 201)] * 2), -1)
    mass = np.exp(host.numpy(pair.predictive(found).log_prob(host.array(grid)))).sum()
    assert mass * 0.06**2 == pytest.approx(1.0, abs=0.02)


@pytest.mark.slow
def test_svi_and_nuts_agree_with_coordinate_ascent(host):
    x = host.array(X)
    pair = host.pair(2, 2, **SETTINGS)
    found = pair.coordinate_ascent(x)
    params = host.train(pair, x, 1500)
    locs = np.sort(host.numpy(params["bayesian_gaussian_mixture.locs"])[:, 0])
    np.testing.assert_allclose(locs, np.sort(found.locs[:, 0]), atol=0.08)
    start = {
        "weights": found.weights,
        "loc": found.locs,
        "precision_tril": np.linalg.cholesky(found.degrees[:, None, None] * found.scale_matrices),
    }
    draws = host.nuts(pair, x, start)
    np.testing.assert_allclose(draws["loc"].mean(0), found.locs, atol=0.06)
    np.testing.assert_allclose(draws["weights"].mean(0).reshape(-1), found.weights, atol=0.03)
    # the mean-field family is narrower, by little where clusters lie apart
    spread = np.sqrt(
        np.diagonal(np.linalg.inv(found.scale_matrices), axis1=-2, axis2=-1)
        / (found.loc_precisions * (found.degrees - 3.0))[:, None]
    )
    np.testing.assert_allclose(draws["loc"].std(0), spread, rtol=0.35)


WRONG = [
    ({"num_components": 0}, "num_components must be at least 1, got 0"),
    ({"degrees": 0.5}, "degrees must be above input_dim - 1 = 1, got 0.5"),
    (
        {"concentration": -1.0},
        "concentration must be positive, a number or of shape (3,), got -1.0",
    ),
    ({"loc": np.zeros(3)}, "loc must have shape (2,), got (3,)"),
    ({"scale_matrix": -np.eye(2)}, "scale_matrix must be symmetric and positive definite"),
    ({"assignments": "hard"}, "assignments must be one of 'marginal', 'enumerated', got 'hard'"),
]


@pytest.mark.parametrize("change, message", WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_arguments(host, change, message):
    options = {"num_components": 3, "input_dim": 2} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        host.pair(options.pop("num_components"), options.pop("input_dim"), **options)
