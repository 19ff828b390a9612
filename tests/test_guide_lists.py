"""Flow guides of some sites beside other guides of the rest, with exact evidences."""

import importlib
import re
from functools import partial

import numpy as np
import pytest
import scipy.special
import scipy.stats
from guides import ADAPTERS

Y = np.array([-2.1, -1.4, 1.3, 1.9, 2.4, -1.7])
GRID = np.linspace(-8, 8, 401)


@pytest.fixture(params=["pyro", "numpyro"])
def host(request):
    with ADAPTERS[request.param]().float64() as host:
        yield host


def hide(host, model, names):
    if host.name == "pyro":
        return host.pyro.poutine.block(model, hide=names)
    return host.numpyro.handlers.block(model, hide=names)


def host_guides(host):
    name = "pyro.infer.autoguide" if host.name == "pyro" else "numpyro.infer.autoguide"
    return importlib.import_module(name)


def independent_model(host):
    """Two blocks that are independent a posteriori, so that the list can be exact."""

    def model():
        a = host.sample("a", host.dist.Normal(host.array(0.0), 2.0))
        b = host.sample("b", host.dist.Normal(host.array(0.0), 1.0))
        c = host.sample("c", host.dist.Gamma(host.array(3.0), 2.0))
        host.sample("x", host.dist.Normal(a, 1.0), obs=host.array(1.5))
        host.sample("y", host.dist.Normal(b, 0.5), obs=host.array(-1.0))
        return c

    return model


INDEPENDENT_EVIDENCE = scipy.stats.norm(0.0, np.sqrt(5.0)).logpdf(1.5) + scipy.stats.norm(
    0.0, np.sqrt(1.25)
).logpdf(-1.0)


def small(host):
    return partial(host.recipes.iaf, num_transforms=1, hidden_dims=(8,))


@pytest.mark.slow
def test_a_flow_beside_a_normal_guide(host):
    guides, model = host_guides(host), independent_model(host)
    guide = guides.AutoGuideList(model)
    guide.append(host.AutoFlow(hide(host, model, ["b"]), small(host)))
    other = {} if host.name == "pyro" else {"prefix": "normal"}
    guide.append(guides.AutoNormal(hide(host, model, ["a", "c"]), **other))
    fitted = host.fit(model, guide, 400, learning_rate=2e-2, num_particles=8)
    # the first flow is affine: the gamma latent costs a little
    assert INDEPENDENT_EVIDENCE - 0.15 < host.elbo(fitted, 500) < INDEPENDENT_EVIDENCE + 0.05
    assert guide[0].latent_dim == 2
    found = host.quantiles(fitted, [0.1, 0.5, 0.9])
    assert set(found) == {"a", "b", "c"}
    exact = scipy.stats.norm(1.2, np.sqrt(0.8)).ppf([0.1, 0.5, 0.9])
    np.testing.assert_allclose(found["a"], exact, atol=0.25)
    assert set(host.median(fitted)) == {"a", "b", "c"}
    drawn = host.predictive(fitted, model, 6)
    assert drawn["x"].shape[0] == 6


@pytest.mark.slow
def test_a_flow_beside_a_point_estimate(host):
    guides, model = host_guides(host), independent_model(host)
    guide = guides.AutoGuideList(model)
    guide.append(host.AutoFlow(hide(host, model, ["b"]), small(host)))
    other = {} if host.name == "pyro" else {"prefix": "delta"}
    guide.append(guides.AutoDelta(hide(host, model, ["a", "c"]), **other))
    fitted = host.fit(model, guide, 300, learning_rate=2e-2, num_particles=8)
    assert host.median(fitted)["b"] == pytest.approx(-0.8, abs=0.02)
    assert host.median(fitted)["a"] == pytest.approx(1.2, abs=0.2)


def mixture(host):
    """Assignments of six points to two components of unknown places."""

    def model():
        loc = host.sample("loc", host.dist.Normal(host.array([-1.0, 1.0]), 1.0).to_event(1))
        with host.plate("rows", len(Y)):
            k = host.sample("k", host.dist.Bernoulli(host.array(0.4)))
            place = loc[..., 0] + k * (loc[..., 1] - loc[..., 0])
            host.sample("y", host.dist.Normal(place, 1.0), obs=host.array(Y))

    return model


def mixture_evidence() -> float:
    """Sum over assignments inside, quadrature over the two places outside."""
    first, second = np.meshgrid(GRID, GRID, indexing="ij")
    normal = scipy.stats.norm.logpdf
    total = normal(first, -1.0, 1.0) + normal(second, 1.0, 1.0)
    for y in Y:
        total = total + np.logaddexp(
            np.log(0.6) + normal(y, first, 1.0), np.log(0.4) + normal(y, second, 1.0)
        )
    return scipy.special.logsumexp(total) + 2 * np.log(GRID[1] - GRID[0])


@pytest.mark.slow
def test_discrete_sites_are_enumerated_beside_a_flow():
    """Pyro: sites marked for enumeration are left to the bound, and summed out in the starts."""
    with ADAPTERS["pyro"]().float64() as host:
        infer = importlib.import_module("pyro.infer")
        model = infer.config_enumerate(mixture(host))
        guide = host.AutoFlow(model, init="laplace")
        elbo = infer.TraceEnum_ELBO(8, vectorize_particles=True, max_plate_nesting=1)
        svi = infer.SVI(model, guide, host.pyro.optim.ClippedAdam({"lr": 5e-3}), elbo)
        for _ in range(100):
            svi.step()
        evidence = mixture_evidence()
        with host.torch.no_grad():
            bound = -np.mean([elbo.loss(model, guide) for _ in range(50)])
        assert guide.latent_dim == 2
        assert evidence - 0.15 < bound < evidence + 0.05
        # the start is already close: it sees the sum over assignments
        assert max(guide.init_report.elbo.values()) > evidence - 0.4


@pytest.mark.slow
def test_discrete_sites_in_a_guide_of_their_own():
    """NumPyro without funsor: a guide draws them, conditionally on the flow's sites."""
    with ADAPTERS["numpyro"]().float64() as host:
        infer, jnp = importlib.import_module("numpyro.infer"), host.jnp
        model = mixture(host)
        flow = host.AutoFlow(hide(host, model, ["k"]), small(host), init="mean_field")

        def guide():
            loc = flow()["loc"]
            y = host.array(Y)
            logits = jnp.log(0.4 / 0.6) + 0.5 * ((y - loc[0]) ** 2 - (y - loc[1]) ** 2)
            with host.plate("rows", len(Y)):
                host.sample("k", host.dist.Bernoulli(logits=logits))

        svi = infer.SVI(
            model, guide, host.numpyro.optim.ClippedAdam(1e-2), infer.TraceGraph_ELBO(16)
        )
        result = svi.run(host.jax.random.key(0), 500, progress_bar=False)
        loss = infer.Trace_ELBO(2000).loss
        bound = -float(loss(host.jax.random.key(1), result.params, model, guide))
        evidence = mixture_evidence()
        # the assignments have their exact conditional distribution
        assert evidence - 0.3 < bound < evidence + 0.05


@pytest.mark.compiles
def test_local_guides_in_a_list(host):
    """Local guides beside a normal guide of the globals share the minibatch."""
    guides, infer = host_guides(host), importlib.import_module(f"{host.name}_deepgen.infer")
    x = host.array(Y)

    def model():
        m = host.sample("m", host.dist.Normal(host.array(0.0), 1.0))
        with host.plate("rows", len(Y), subsample_size=3) as index:
            z = host.sample("z", host.dist.Normal(m, 1.0))
            host.sample("y", host.dist.Normal(z, 1.0), obs=x[index])

    guide = guides.AutoGuideList(model)
    other = {} if host.name == "pyro" else {"prefix": "normal"}
    guide.append(guides.AutoNormal(hide(host, model, ["z"]), **other))
    local = infer.LocalFlow(flow=small(host), per_datum="mean_field")
    guide.append(host.AutoFlow(hide(host, model, ["m"]), local=local))
    fitted = host.fit(model, guide, 5, num_particles=2)
    assert np.isfinite(fitted.losses).all()
    assert host.quantiles(fitted, [0.5])["z"].shape == (1, len(Y))


def test_discrete_sites_get_a_clear_error(host):
    rule = {
        "pyro": "continuous or marked for enumeration, got 'k'",
        "numpyro": "model must have latent sites that are continuous, got 'k'",
    }
    with pytest.raises(ValueError, match=re.escape(rule[host.name])):
        host.AutoFlow(mixture(host), args=())
