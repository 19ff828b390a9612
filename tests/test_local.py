"""Local latent variables: guides in data plates, right under minibatches, on both hosts."""

import copy
import importlib
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.stats
from guides import ADAPTERS

# m ~ N(0, 2), z_n ~ N(m, 0.7), x_n ~ N(z_n, 1)
NUM_DATA, SIZE, PRIOR, SPREAD = 200, 20, 2.0, 0.7
_RNG = np.random.default_rng(0)
X = 1.0 + _RNG.normal(size=NUM_DATA) * SPREAD + _RNG.normal(size=NUM_DATA)
EVIDENCE = scipy.stats.multivariate_normal(
    np.zeros(NUM_DATA), (1.0 + SPREAD**2) * np.eye(NUM_DATA) + PRIOR**2
).logpdf(X)
PRECISION = PRIOR**-2 + NUM_DATA / (1.0 + SPREAD**2)
MEAN, SD = X.sum() / (1.0 + SPREAD**2) / PRECISION, PRECISION**-0.5


class Journey:
    """Training and use of a guide on either host."""

    def __init__(self, host):
        self.host = host
        self.infer = importlib.import_module(f"{host.name}_deepgen.infer")
        self.LocalFlow = self.infer.LocalFlow
        # in one dimension an affine flow of the context has the exact posterior
        self.small = partial(host.recipes.iaf, num_transforms=1, hidden_dims=(16,))

    def array(self, value):
        return self.host.array(np.asarray(value, dtype=float))

    def normal(self, loc, scale):
        return self.host.dist.Normal(self.array(loc) if np.isscalar(loc) else loc, scale)

    def hierarchy(self, size=SIZE, full_size=NUM_DATA):
        """The model above, its minibatch taken by the plate."""

        def model(x, size=size):
            m = self.host.sample("m", self.normal(0.0, PRIOR))
            with self.host.plate("data", full_size, subsample_size=size) as indices:
                z = self.host.sample("z", self.host.dist.Normal(m, SPREAD))
                self.host.sample("x", self.host.dist.Normal(z, 1.0), obs=x[indices])

        return model

    def passed(self, full_size=NUM_DATA):
        """The model above with its minibatch passed."""

        def model(x, indices=None):
            m = self.host.sample("m", self.normal(0.0, PRIOR))
            with self.host.plate("data", full_size, subsample_size=len(x)):
                z = self.host.sample("z", self.host.dist.Normal(m, SPREAD))
                self.host.sample("x", self.host.dist.Normal(z, 1.0), obs=x)

        return model

    def guide(self, model, recipe=None, **settings):
        local = self.LocalFlow(**{"flow": self.small, **settings})
        return self.host.AutoFlow(model, recipe or self.small, local=local)


class PyroJourney(Journey):
    def elbo(self, kind, num_particles):
        infer = importlib.import_module("pyro.infer")
        return getattr(infer, kind)(num_particles, vectorize_particles=True, max_plate_nesting=2)

    def fit(self, model, guide, num_steps, *batches, kind="Trace_ELBO", particles=4, rate=1e-2):
        svi_class = importlib.import_module("pyro.infer").SVI
        optim = self.host.pyro.optim.ClippedAdam(
            {"lr": rate, "lrd": 0.01 ** (1 / max(num_steps, 10))}
        )
        svi = svi_class(model, guide, optim, self.elbo(kind, particles))
        losses = [svi.step(*batches[i % len(batches)]) for i in range(num_steps)]
        assert np.isfinite(losses).all()

    def losses(self, model, guide, count, *args, particles=1, kind="Trace_ELBO"):
        elbo = self.elbo(kind, particles)
        with self.host.torch.no_grad():
            return np.array([elbo.loss(model, guide, *args) for _ in range(count)])

    def gradients(self, model, guide, count, *args):
        elbo, found = self.elbo("Trace_ELBO", 1), []
        for _ in range(count):
            guide.zero_grad()
            elbo.differentiable_loss(model, guide, *args).backward()
            grads = [p.grad for p in guide.parameters() if p.grad is not None]
            found.append(np.concatenate([self.host.numpy(g).ravel() for g in grads]))
        return np.array(found)

    def draws(self, guide, count, *args, **kwargs):
        found = guide.sample_posterior((count,), *args, **kwargs)
        return {name: self.host.numpy(value) for name, value in found.items()}

    def quantiles(self, guide, levels, *args):
        found = guide.quantiles(levels, *args)
        return {name: self.host.numpy(value) for name, value in found.items()}

    def log_density(self, guide, samples, *args):
        values = {name: self.array(value) for name, value in samples.items()}
        return self.host.numpy(guide.log_density(values, *args))

    def call(self, guide, *args):
        self.host.pyro.set_rng_seed(0)
        guide(*args)

    def predictive(self, model, guide, count, *args):
        predictive = importlib.import_module("pyro.infer").Predictive
        found = predictive(model, guide=guide, num_samples=count)(*args)
        return {name: self.host.numpy(value) for name, value in found.items()}

    def resample(self, model, guide, *args, **options):
        return self.infer.importance_resample(model, guide, args=args, **options)

    def flow_fit(self, model, guide, num_steps, *args):
        return self.infer.fit(model, guide, num_steps, args=args, progress=False)


class NumPyroJourney(Journey):
    params = None

    def key(self, seed=0):
        return self.host.jax.random.key(seed)

    def elbo(self, kind, num_particles):
        return getattr(importlib.import_module("numpyro.infer"), kind)(num_particles)

    def fit(self, model, guide, num_steps, *batches, kind="Trace_ELBO", particles=4, rate=1e-2):
        svi_class = importlib.import_module("numpyro.infer").SVI
        optim = self.host.numpyro.optim.ClippedAdam(
            lambda i: rate * 0.01 ** (i / max(num_steps, 10))
        )
        svi = svi_class(model, guide, optim, self.elbo(kind, particles))
        if len(batches) == 1:
            result = svi.run(self.key(), num_steps, *batches[0], progress_bar=False)
            losses, self.params = np.asarray(result.losses), result.params
        else:
            state, losses = svi.init(self.key(), *batches[0]), []
            update = self.host.jax.jit(svi.update)
            for i in range(num_steps):
                state, loss = update(state, *batches[i % len(batches)])
                losses.append(loss)
            self.params = svi.get_params(state)
        assert np.isfinite(losses).all()

    def losses(self, model, guide, count, *args, particles=1, kind="Trace_ELBO"):
        elbo = self.elbo(kind, particles)
        loss = self.host.jax.jit(
            self.host.jax.vmap(lambda key: elbo.loss(key, self.params, model, guide, *args))
        )
        return np.asarray(loss(self.host.jax.random.split(self.key(3), count)))

    def gradients(self, model, guide, count, *args):
        elbo, flatten = self.elbo("Trace_ELBO", 1), self.host.jax.flatten_util.ravel_pytree

        def gradient(key):
            grad = self.host.jax.grad(elbo.loss, argnums=1)
            return flatten(grad(key, self.params, model, guide, *args))[0]

        keys = self.host.jax.random.split(self.key(4), count)
        return np.asarray(self.host.jax.jit(self.host.jax.vmap(gradient))(keys))

    def draws(self, guide, count, *args, **kwargs):
        found = guide.sample_posterior(
            self.key(1), self.params, *args, sample_shape=(count,), **kwargs
        )
        return {name: np.asarray(value) for name, value in found.items()}

    def quantiles(self, guide, levels, *args):
        found = guide.quantiles(self.params, levels, *args)
        return {name: np.asarray(value) for name, value in found.items()}

    def log_density(self, guide, samples, *args):
        values = {name: self.array(value) for name, value in samples.items()}
        return np.asarray(guide.log_density(self.params, values, *args))

    def call(self, guide, *args):
        params = self.params or {}
        handlers = self.host.numpyro.handlers
        handlers.substitute(handlers.seed(guide, self.key()), data=params)(*args)

    def predictive(self, model, guide, count, *args):
        predictive = importlib.import_module("numpyro.infer").Predictive
        draw = predictive(model, guide=guide, params=self.params, num_samples=count)
        return {name: np.asarray(value) for name, value in draw(self.key(5), *args).items()}

    def resample(self, model, guide, *args, **options):
        return self.infer.importance_resample(
            self.key(6), model, guide, self.params, args=args, **options
        )

    def flow_fit(self, model, guide, num_steps, *args):
        result = self.infer.fit(self.key(), model, guide, num_steps, args=args, progress=False)
        self.params = result.params
        return result


JOURNEYS = {"pyro": PyroJourney, "numpyro": NumPyroJourney}


@pytest.fixture(params=["pyro", "numpyro"])
def journey(request):
    with ADAPTERS[request.param]().float64() as host:
        yield JOURNEYS[request.param](host)


def mean_and_error(values):
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"per_datum": "mean_field"}], ids=["encoder", "table"])
def test_conjugate_hierarchy_trained_on_minibatches(journey, settings):
    """Evidence and posterior are known in closed form."""
    model, x = journey.hierarchy(), journey.array(X)
    guide = journey.guide(model, **settings)
    journey.fit(model, guide, 3000, (x,), particles=8, rate=2e-2)
    loss, error = mean_and_error(journey.losses(model, guide, 200, x, NUM_DATA))
    # a bound, and close to the evidence: a nat is 0.005 for each of the 201 variables
    assert EVIDENCE - 1.0 < -loss < EVIDENCE + 4 * error
    draws = journey.draws(guide, 2000, x, NUM_DATA)
    assert draws["z"].shape == (2000, NUM_DATA)
    assert abs(draws["m"].mean() - MEAN) < 0.5 * SD
    # the local variables follow it from the start: without that it comes out 0.57 as wide
    assert 0.75 * SD < draws["m"].std() < 1.25 * SD
    weight = SPREAD**2 / (1.0 + SPREAD**2)
    mean = weight * X + (1 - weight) * MEAN
    sd = np.sqrt(weight + ((1 - weight) * SD) ** 2)
    np.testing.assert_allclose((draws["z"].mean(0) - mean) / sd, 0.0, atol=0.35)
    assert abs((draws["z"].std(0) / sd).mean() - 1.0) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("passed", [False, True])
def test_minibatches_are_unbiased(journey, passed):
    """The mean loss and gradient of minibatches are those of all data."""
    x = journey.array(X[:40])
    model = journey.passed(40) if passed else journey.hierarchy(8, 40)
    guide = journey.guide(model)
    journey.fit(model, guide, 2, (x,))
    full = (x,) if passed else (x, 40)
    batches = [(x[8 * i : 8 * i + 8],) for i in range(5)] if passed else [(x, 8)]
    share = 400 // len(batches)
    losses = [journey.losses(model, guide, share, *batch) for batch in batches]
    mean, error = mean_and_error(np.concatenate(losses))
    expected, its_error = mean_and_error(journey.losses(model, guide, 400, *full))
    assert abs(mean - expected) < 4 * np.hypot(error, its_error)
    share = 200 // len(batches)
    found = [journey.gradients(model, guide, share, *batch) for batch in batches]
    mean, error = mean_and_error(np.concatenate(found))
    expected, its_error = mean_and_error(journey.gradients(model, guide, 200, *full))
    scale = np.hypot(error, its_error)
    kept = scale > 1e-9
    deviations = (mean - expected)[kept] / scale[kept]
    assert kept.sum() > 100
    assert np.abs(deviations).max() < 5.5
    # hundreds of correlated components: their mean square is near one
    assert np.mean(deviations**2) < 2.5


@pytest.mark.parametrize("full_size", [40, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.compiles
def test_work_grows_with_the_minibatch_not_the_data(journey, full_size):
    """The encoder sees the minibatch, once a call."""
    x, rows = journey.array(X[np.arange(full_size) % NUM_DATA]), []

    def encoder(features):
        rows.append(len(features))
        return features

    model = journey.hierarchy(10, full_size)
    guide = journey.guide(model, features="x", encoder=encoder)
    journey.fit(model, guide, 1, (x,))
    rows.clear()
    journey.call(guide, x)
    assert rows == [10]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Trace_ELBO", "TraceMeanField_ELBO"])
@pytest.mark.parametrize("settings", [{}, {"condition_on_globals": False}])
def test_bounds_and_particles_agree(journey, kind, settings):
    """Both bounds, with one particle and with several, have one mean."""
    model, x = journey.hierarchy(8, 24), journey.array(X[:24])
    guide = journey.guide(model, **settings)
    journey.fit(model, guide, 2, (x,), kind=kind, particles=3)
    one = mean_and_error(journey.losses(model, guide, 300, x, kind="Trace_ELBO"))
    many = mean_and_error(journey.losses(model, guide, 100, x, kind=kind, particles=3))
    assert abs(one[0] - many[0]) < 4 * np.hypot(one[1], many[1])


def two_sites(journey, size):
    """A datum with a positive, a simplex and a vector latent inside inner plates."""
    host, full_size = journey.host, 12

    def model(x, size=size):
        tau = host.sample("tau", host.dist.Gamma(journey.array(2.0), 2.0))
        inner = host.plate("inner", 3, dim=-1)
        with host.plate("data", full_size, subsample_size=size, dim=-2) as indices:
            scale = host.sample("scale", host.dist.Gamma(journey.array(3.0), 1.0))
            shares = host.sample("shares", host.dist.Dirichlet(journey.array(np.ones(3))))
            with inner:
                z = host.sample("z", host.dist.Normal(journey.array(np.zeros(2)), tau).to_event(1))
                loc = z.sum(-1) + shares[..., 0, :]
                host.sample("x", host.dist.Normal(loc, scale), obs=x[indices])

    return model, journey.array(_RNG.normal(size=(full_size, 3)))


SETTINGS = {
    "encoder": {},
    "mean_field": {"per_datum": "mean_field"},
    "full": {"per_datum": "full"},
    "both": {"per_datum": "full", "features": "x", "condition_on_globals": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_constrained_sites_and_inner_plates(journey, settings):
    model, x = two_sites(journey, 4)
    guide = journey.guide(model, **settings)
    journey.fit(model, guide, 3, (x,))
    draws = journey.draws(guide, 5, x)
    shapes = {name: value.shape[1:] for name, value in draws.items()}
    expected = {"tau": (), "scale": (12, 1), "shares": (12, 1, 3), "z": (12, 3, 2)}
    assert shapes == expected
    np.testing.assert_allclose(draws["shares"].sum(-1), 1.0)
    # the density of the draws is that of the guide's own trace on all data: the ELBO agrees
    big = journey.draws(guide, 4000, x)
    entropy = mean_and_error(-journey.log_density(guide, big, x))
    joint = mean_and_error(_log_joint(model, journey, big, x))
    loss = mean_and_error(journey.losses(model, guide, 1000, x, 12))
    difference = -loss[0] - (joint[0] + entropy[0])
    assert abs(difference) < 4 * np.sqrt(joint[1] ** 2 + entropy[1] ** 2 + loss[1] ** 2)
    found = journey.quantiles(guide, [0.1, 0.5, 0.9], x)
    assert {name: value.shape for name, value in found.items()} == {
        name: (3, *shape) for name, shape in expected.items()
    }
    assert (np.diff(found["scale"], axis=0) > 0).all()


def _log_joint(model, journey, draws, x):
    """Exact log densities of the draws on all data, written out."""
    tau, scale, shares, z = (draws[name] for name in ("tau", "scale", "shares", "z"))
    gamma, normal = scipy.stats.gamma, scipy.stats.norm
    loc = z.sum(-1) + shares[..., 0, :]
    x = journey.host.numpy(x)
    return (
        gamma(2.0, scale=0.5).logpdf(tau)
        + gamma(3.0).logpdf(scale).sum((-1, -2))
        + 12 * np.log(2.0)
        + normal(0.0, tau[:, None, None, None]).logpdf(z).sum((-1, -2, -3))
        + normal(loc, scale).logpdf(x).sum((-1, -2))
    )


@pytest.mark.slow
def test_without_globals(journey):
    """A latent variable model of each datum alone, as in a variational autoencoder."""
    host = journey.host

    def model(x, size=10):
        with host.plate("data", 50, subsample_size=size) as indices:
            z = host.sample("z", journey.normal(0.0, 1.0))
            host.sample("x", host.dist.Normal(z, 1.0), obs=x[indices])

    x = journey.array(X[:50])
    guide = journey.guide(model)
    journey.fit(model, guide, 800, (x,), rate=2e-2)
    loss, error = mean_and_error(journey.losses(model, guide, 200, x, 50))
    evidence = scipy.stats.norm(0.0, np.sqrt(2.0)).logpdf(X[:50]).sum()
    assert evidence - 1.0 < -loss < evidence + 4 * error
    assert set(journey.draws(guide, 3, x)) == {"z"}


@pytest.mark.compiles
def test_minibatches_of_tensors_of_any_size(journey):
    model, x = journey.passed(30), journey.array(X[:30])
    guide = journey.guide(model)
    batches = [(x[:8],), (x[8:20],), (x[20:],)]
    journey.fit(model, guide, 6, *batches)
    assert journey.draws(guide, 2, x)["z"].shape == (2, 30)
    assert journey.draws(guide, 2, x[:7])["z"].shape == (2, 7)


@pytest.mark.compiles
def test_a_table_and_minibatches_of_tensors_need_indices(journey):
    model, x = journey.passed(30), journey.array(X[:30])
    with pytest.raises(ValueError, match="indices must be given where a table"):
        journey.call(journey.guide(model, per_datum="mean_field"), x[:6])
    guide = journey.guide(model, per_datum="mean_field", indices="indices")
    places = np.array([3, 17, 5, 9])
    indices = journey.array(places)
    indices = indices.long() if journey.host.name == "pyro" else indices.astype(int)
    journey.fit(model, guide, 50, (x[indices], indices))
    # the rows of the table that the minibatch names are trained, the others stay as they began
    everything = journey.array(np.arange(30))
    everything = everything.long() if journey.host.name == "pyro" else everything.astype(int)
    centres = journey.draws(guide, 400, x, everything)["z"].mean(0)
    others = np.setdiff1d(np.arange(30), places)
    spread = centres[others].std()
    assert np.abs(centres[places] - centres[others].mean()).max() > 10.0 * spread


@pytest.mark.slow
def test_predictive_and_importance_weights(journey):
    model, x = journey.hierarchy(6, 6), journey.array(X[:6])
    guide = journey.guide(model)
    journey.fit(model, guide, 500, (x,), rate=3e-2)
    found = journey.predictive(model, guide, 7, x)
    # the host fixes what is observed
    assert found["x"].shape[0] == 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a short fit may have a k-hat above 0.7
        weighted = journey.resample(model, guide, x, num_samples=50, num_proposals=4000)
    covariance = (1.0 + SPREAD**2) * np.eye(6) + PRIOR**2
    exact = scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(X[:6])
    assert abs(weighted.log_evidence - exact) < 5 * weighted.log_evidence_error + 0.02
    assert weighted.samples["z"].shape == (50, 6)


@pytest.mark.slow
def test_fit_and_copies(journey):
    model, x = journey.hierarchy(5, 15), journey.array(X[:15])
    guide = journey.guide(model)
    result = journey.flow_fit(model, guide, 5, x)
    assert np.isfinite(result.losses).all()
    assert copy.deepcopy(guide).latent_dim == 1


@pytest.mark.compiles
def test_an_encoder_of_the_users_own_learns(journey):
    host, x = journey.host, journey.array(X[:20])
    if host.name == "pyro":
        encoder = host.torch.nn.Linear(1, 4).double()
    else:
        from numpyro_deepgen.nn import Dense

        encoder = Dense(host.jax.random.key(0), 1, 4, hidden_dims=())
    model = journey.hierarchy(5, 20)
    guide = journey.guide(model, features=lambda x, size=5: x[:, None], encoder=encoder)
    journey.fit(model, guide, 20, (x,))
    if host.name == "pyro":
        assert encoder.weight.grad is not None or any(
            "encoder" in name for name in host.pyro.get_param_store()
        )
    else:
        trained = journey.params["auto_local_data$params"].encoder.layers[0].weight
        assert not np.allclose(trained, encoder.layers[0].weight)


@pytest.mark.compiles
def test_two_data_plates(journey):
    """Rows and columns of a table, each with its own minibatch and guide."""
    host = journey.host
    table = journey.array(_RNG.normal(size=(6, 8)))

    def model(table, size=3):
        rows = host.plate("rows", 6, subsample_size=size, dim=-2)
        columns = host.plate("columns", 8, subsample_size=size, dim=-1)
        with rows as i:
            a = host.sample("a", journey.normal(0.0, 1.0))
        with columns as j:
            b = host.sample("b", journey.normal(0.0, 1.0))
        with rows, columns:
            host.sample("x", host.dist.Normal(a + b, 1.0), obs=table[i][:, j])

    settings = {
        "rows": journey.LocalFlow(features=lambda table, size=3: table, flow=journey.small),
        "columns": journey.LocalFlow(per_datum="mean_field", flow=journey.small),
    }
    guide = host.AutoFlow(model, local=settings)
    journey.fit(model, guide, 3, (table,))
    draws = journey.draws(guide, 4, table)
    assert draws["a"].shape == (4, 6, 1) and draws["b"].shape == (4, 8)


@pytest.mark.compiles
def test_errors(journey):
    host, x = journey.host, journey.array(X[:20])
    model = journey.hierarchy(5, 20)
    with pytest.raises(ValueError, match="pass local=LocalFlow"):
        host.AutoFlow(model, args=(x,))
    with pytest.raises(TypeError, match="local must be a LocalFlow"):
        host.AutoFlow(model, local=3)
    with pytest.raises(TypeError, match="features must be a function or names"):
        journey.LocalFlow(features=3)
    with pytest.raises(ValueError, match="per_datum must be one of 'mean_field', 'full'"):
        journey.LocalFlow(per_datum="diagonal")
    with pytest.raises(ValueError, match="features must name array arguments of the model"):
        host.AutoFlow(model, local=journey.LocalFlow(features="y"), args=(x,))
    with pytest.raises(ValueError, match="local must name plates with latent sites"):
        host.AutoFlow(model, local={"rows": journey.LocalFlow()}, args=(x,))
    with pytest.raises(ValueError, match=r"encoder must return an array of shape \(rows, size\)"):
        settings = journey.LocalFlow(features="x", encoder=lambda x: x[0])
        host.AutoFlow(model, local=settings, args=(x,))
    with pytest.raises(ValueError, match="features must have a row for each of the 20 data"):
        settings = journey.LocalFlow(features=lambda x: x[:5])
        host.AutoFlow(model, local=settings, args=(x,))

    def closed():
        model(x)

    with pytest.raises(ValueError, match="features must be given where no argument"):
        host.AutoFlow(closed, local=journey.LocalFlow(), args=())
