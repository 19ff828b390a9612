"""Independence Metropolis with a guide: exact targets, whatever the guide, on both hosts."""

import math
import pickle

import numpy as np
import pytest
from scipy import stats

MODES, SPREAD, MASS = (-6.0, 6.0), 0.5, 0.3


class Pyro:
    """Kernels and runs on Pyro."""

    def __init__(self):
        import pyro
        import pyro.distributions as dist
        import torch
        from pyro.infer import HMC, MCMC, NUTS, Predictive, autoguide

        from pyro_deepgen import infer

        self.host, self.dist, self.infer, self.autoguide = pyro, dist, infer, autoguide
        self.NUTS, self.HMC, self.MCMC, self.Predictive = NUTS, HMC, MCMC, Predictive
        self.log, self.logaddexp, self.array = torch.log, torch.logaddexp, torch.tensor
        pyro.clear_param_store()
        pyro.set_rng_seed(0)

    def normal_guide(self, model, loc, scale):
        guide = self.autoguide.AutoMultivariateNormal(model)
        guide()
        guide.loc.data = self.array(loc)
        guide.scale = self.array(scale)
        guide.scale_tril = self.array(np.eye(len(loc)), dtype=guide.loc.dtype)
        return guide, ()

    def flow_guide(self, model, recipe):
        from pyro_deepgen import distributions

        return self.infer.AutoFlow(model, getattr(distributions, recipe), args=()), ()

    def run(self, kernel, num_warmup, num_samples, num_chains=1, **options):
        mcmc = self.MCMC(kernel, num_samples, num_warmup, num_chains=1, disable_progbar=True)
        chains, found = [], []
        for _ in range(num_chains):
            mcmc.run()
            chains.append({k: v.numpy() for k, v in mcmc.get_samples().items()})
            found.append(mcmc.diagnostics()["proposal acceptance rate"]["chain 0"])
        mcmc.summary()
        draws = {k: np.stack([chain[k] for chain in chains]) for k in chains[0]}
        return mcmc, draws, np.mean(found)

    def to_arviz(self, mcmc):
        import arviz

        return arviz.from_pyro(mcmc, log_likelihood=False)


class NumPyro:
    """Kernels and runs on NumPyro."""

    def __init__(self):
        import jax
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as dist
        from numpyro.infer import HMC, MCMC, NUTS, autoguide

        from numpyro_deepgen import infer

        self.host, self.dist, self.infer, self.autoguide = numpyro, dist, infer, autoguide
        self.NUTS, self.HMC, self.MCMC, self.jax = NUTS, HMC, MCMC, jax
        self.log, self.logaddexp, self.array = jnp.log, jnp.logaddexp, jnp.array

    def normal_guide(self, model, loc, scale):
        guide = self.autoguide.AutoMultivariateNormal(model)
        with self.host.handlers.seed(rng_seed=0):
            guide()
        scale_tril = self.jax.numpy.diag(self.array(scale))
        return guide, ({"auto_loc": self.array(loc), "auto_scale_tril": scale_tril},)

    def flow_guide(self, model, recipe):
        from numpyro_deepgen import distributions

        guide = self.infer.AutoFlow(model, getattr(distributions, recipe), args=())
        with self.host.handlers.seed(rng_seed=0), self.host.handlers.trace() as trace:
            guide()
        params = {k: v["value"] for k, v in trace.items() if v["type"] == "param"}
        return guide, (params,)

    def run(self, kernel, num_warmup, num_samples, num_chains=1, chain_method="vectorized"):
        mcmc = self.MCMC(
            kernel,
            num_warmup=num_warmup,
            num_samples=num_samples,
            num_chains=num_chains,
            chain_method=chain_method,
            progress_bar=False,
        )
        # ArviZ takes the logarithm of the number of gradients, which proposals alone have none of
        fields = ("num_accepted", "num_steps") if kernel.num_local else ("num_accepted",)
        mcmc.run(self.jax.random.key(1), extra_fields=fields)
        mcmc.print_summary()
        draws = mcmc.get_samples(group_by_chain=True)
        accepted = mcmc.get_extra_fields()["num_accepted"]
        rate = float(accepted.mean()) / kernel.num_global
        return mcmc, {k: np.asarray(v) for k, v in draws.items()}, rate

    def to_arviz(self, mcmc):
        import arviz

        return arviz.from_numpyro(mcmc, log_likelihood=False)


@pytest.fixture(params=[Pyro, NumPyro])
def side(request):
    return request.param()


def gamma_model(side):
    def model():
        side.host.sample("x", side.dist.Gamma(3.0, 1.0))

    return model


def bimodal_model(side):
    """An uneven mixture of two narrow normals far apart, and a site that must stay ordered."""

    def model():
        side.host.sample("b", side.dist.Gamma(3.0, 1.0).expand([2]).to_event(1))
        wide = side.dist.Normal(0.0, 10.0)
        a = side.host.sample("a", wide)
        left, right = (side.dist.Normal(loc, SPREAD).log_prob(a) for loc in MODES)
        mixed = side.logaddexp(left + math.log(MASS), right + math.log(1 - MASS))
        side.host.factor("modes", mixed - wide.log_prob(a))

    return model


def thinned(draws, size):
    return draws[:, ::size].reshape(-1)


def standard_error(draws):
    """Of the mean of ``(chain, draw)``, from means of blocks."""
    blocks = draws.reshape(draws.shape[0] * 20, -1).mean(-1)
    return blocks.std(ddof=1) / math.sqrt(len(blocks))


@pytest.mark.parametrize("loc, scale", [(0.2, 0.6), (2.0, 1.5)])
@pytest.mark.compiles
def test_a_poor_proposal_leaves_the_target(side, loc, scale, capsys):
    """Proposals alone from a normal that is too narrow and off, or too wide and off."""
    model = gamma_model(side)
    guide, params = side.normal_guide(model, [loc], [scale])
    kernel = side.infer.FlowIndependence(guide, *params, num_global=10)
    _, draws, rate = side.run(kernel, 20, 150, num_chains=2)
    # proposals are 10 a draw: what is kept is nearly independent
    assert stats.kstest(thinned(draws["x"], 2), stats.gamma(3.0).cdf).pvalue > 1e-3
    assert 0.1 < rate < 0.9


def test_the_target_itself_is_always_accepted(side, capsys):
    def model():
        side.host.sample("y", side.dist.Normal(1.0, 2.0))
        side.host.sample("x", side.dist.Normal(-3.0, 0.5))

    guide, params = side.normal_guide(model, [1.0, -3.0], [2.0, 0.5])
    kernel = side.infer.FlowIndependence(guide, *params, num_global=3)
    _, draws, rate = side.run(kernel, 5, 200)
    assert rate == 1.0
    assert stats.kstest(draws["x"][0], stats.norm(-3.0, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("local", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.compiles
def test_masses_of_two_modes(side, local, capsys):
    """NUTS alone stays in the mode where it starts; in turns with a wide normal it has both."""
    model = bimodal_model(side)
    guide, params = side.normal_guide(model, [1.0, 1.0, 0.0], [0.8, 0.8, 7.0])
    inner = side.NUTS(model) if local else None
    kernel = side.infer.FlowIndependence(guide, *params, inner, num_global=10)
    size = 200 if type(side) is Pyro else 600
    mcmc, draws, rate = side.run(kernel, 100, size, num_chains=2)
    left = (draws["a"] < 0).astype(float)
    assert abs(left.mean() - MASS) < 4 * standard_error(left)
    assert standard_error(left) < 0.08
    for site, truth in (("a", MASS * MODES[0] + (1 - MASS) * MODES[1]), ("b", 3.0)):
        value = draws[site].reshape(*draws[site].shape[:2], -1)[..., -1]
        assert abs(value.mean() - truth) < 4 * standard_error(value)
    assert 0.02 < rate < 0.6
    assert "posterior" in side.to_arviz(mcmc).groups()
    assert "Number of divergences" in capsys.readouterr().out


@pytest.mark.slow
def test_nuts_alone_sticks(side, capsys):
    model = bimodal_model(side)
    if type(side) is NumPyro:
        mcmc = side.MCMC(side.NUTS(model), num_warmup=200, num_samples=400, progress_bar=False)
        mcmc.run(side.jax.random.key(0))
    else:
        mcmc = side.MCMC(side.NUTS(model), 400, 200, disable_progbar=True)
        mcmc.run()
    assert np.unique(np.sign(np.asarray(mcmc.get_samples()["a"]))).size == 1


@pytest.mark.slow
def test_a_flow_as_proposal(side, capsys):
    model = bimodal_model(side)
    guide, params = side.flow_guide(model, "realnvp")
    kernel = side.infer.FlowIndependence(guide, *params, side.HMC(model), num_local=2)
    _, draws, rate = side.run(kernel, 50, 100, num_chains=2)
    assert draws["b"].shape == (2, 100, 2)
    assert 0.0 < rate <= 1.0


@pytest.mark.slow
def test_chain_methods_agree(capsys):
    side = NumPyro()
    model = gamma_model(side)
    guide, params = side.normal_guide(model, [0.5], [1.0])
    kernel = side.infer.FlowIndependence(guide, *params, side.NUTS(model), num_local=2)
    runs = [side.run(kernel, 10, 30, 2, method)[1]["x"] for method in ("vectorized", "sequential")]
    np.testing.assert_allclose(*runs, rtol=2e-3)
    again = side.run(kernel, 10, 30, 2, "vectorized")[1]["x"]
    np.testing.assert_array_equal(runs[0], again)


@pytest.mark.slow
def test_new_data_reach_the_proposals(capsys):
    """The potential is that of the arguments of each run, also where they are traced."""
    side = NumPyro()

    def model(y):
        loc = side.host.sample("loc", side.dist.Normal(0.0, 10.0))
        side.host.sample("y", side.dist.Normal(loc, 0.5), obs=y)

    guide = side.autoguide.AutoMultivariateNormal(model)
    with side.host.handlers.seed(rng_seed=0):
        guide(0.0)
    params = {"auto_loc": side.array([2.5]), "auto_scale_tril": side.array([[4.0]])}
    kernel = side.infer.FlowIndependence(guide, params, num_global=30)
    options = {"num_warmup": 20, "num_samples": 200, "progress_bar": False, "jit_model_args": True}
    mcmc = side.MCMC(kernel, **options)
    for y in (0.0, 5.0):
        mcmc.run(side.jax.random.key(0), side.array(y))
        assert abs(float(mcmc.get_samples()["loc"].mean()) - y) < 0.3


def test_a_kernel_pickles():
    side = NumPyro()
    guide, params = side.normal_guide(flat_numpyro, [0.5], [1.0])
    kernel = side.infer.FlowIndependence(guide, *params)
    kernel = pickle.loads(pickle.dumps(kernel))
    assert kernel.num_global == 5


def flat_numpyro():
    import numpyro

    numpyro.sample("x", numpyro.distributions.Normal(0.0, 1.0))


def test_wrong_arguments_are_named(side):
    model = gamma_model(side)
    kernel = side.infer.FlowIndependence
    guide, params = side.normal_guide(model, [0.5], [1.0])
    with pytest.raises(TypeError, match="guide must be an AutoContinuous"):
        kernel(model, *params)
    with pytest.raises(TypeError, match="inner must be the host's HMC or NUTS"):
        kernel(guide, *params, model)
    with pytest.raises(ValueError, match="num_global must"):
        kernel(guide, *params, num_global=0)
    with pytest.raises(ValueError, match="num_local must"):
        kernel(guide, *params, side.NUTS(model), num_local=0)
    fresh = side.autoguide.AutoMultivariateNormal(model)
    with pytest.raises(ValueError, match="guide must have been called once"):
        kernel(fresh, *params)

    def other():
        side.host.sample("z", side.dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="inner must have the sites of the guide"):
        side.run(kernel(guide, *params, side.NUTS(other)), 2, 4)
