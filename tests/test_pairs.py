"""Model-guide pairs of auto-encoders: training, twins, and what a trained pair is for."""

import numpy as np
import pytest
from registry_models import PAIRS, covered_pairs, digits
from test_surface import PACKAGES, exported


def journeys(default) -> list:
    """All cases, those that are not default ones slow."""
    return [pytest.param(c, marks=() if default(c) else pytest.mark.slow, id=str(c)) for c in PAIRS]


def trained(backend, case, num_steps: int, learning_rate: float = 5e-3):
    """The trained pair and the losses of the steps, a datum each."""
    infer = backend.load("infer")
    pair, (x, context) = case.build(backend), case.rows(backend)
    args = (x,) if context is None else (x, context)
    options = {
        "kwargs": {"size": len(x)},
        "batch_size": 100,
        "loss": infer.IWELBO(1),
        "learning_rate": learning_rate,
        "progress": False,
    }
    if backend.name == "numpyro":
        result = infer.fit(backend.key(), pair.model, pair.guide, num_steps, args=args, **options)
        return pair.with_params(result.params), result.losses / len(x)
    with backend.torch.random.fork_rng():
        backend.torch.manual_seed(0)
        result = infer.fit(pair.model, pair.guide, num_steps, args=args, **options)
    return pair, result.losses / len(x)


def call(backend, method, *args, **kwargs):
    """A method of a pair, with the random key where the host has them."""
    if backend.name == "numpyro":
        return np.asarray(method(*args, rng_key=backend.key(), **kwargs))
    return method(*args, **kwargs).numpy()


def sample(backend, pair, *args, **kwargs):
    keys = (backend.key(),) if backend.name == "numpyro" else ()
    return backend.numpy(pair.sample(*keys, *args, **kwargs))


@pytest.mark.parametrize("host", PACKAGES)
def test_every_pair_has_a_case(host):
    assert covered_pairs() <= set(exported(PACKAGES[host], "models"))


@pytest.mark.compiles
@pytest.mark.parametrize("case", journeys(lambda case: case.quick))
def test_a_pair_trains_on_digits_and_is_of_use(backend32, case):
    backend = backend32
    pair, losses = trained(backend, case, 60, case.learning_rate)
    first, last = losses[:10], losses[-20:]
    error = np.hypot(first.std() / 10**0.5, last.std() / 20**0.5)
    assert np.isfinite(losses).all()
    least = max(5 * error, 0.1 * abs(first.mean()))
    if case.starts_near:
        # the first losses fall as fast as ever, but not as far
        least = max(5 * last.std() / 20**0.5, 0.03 * abs(first.mean()))
    assert first.mean() - last.mean() > least
    x, context = case.rows(backend, 6)
    shape = x.shape[1:]
    draws = sample(backend, pair, 4, None if context is None else context[0], mean=False)
    assert draws.shape == (4, *shape)
    if case.data != "numbers":
        assert set(np.unique(draws)) <= set(range(17 if case.data == "levels" else 2))
    means = call(backend, pair.reconstruct, x, context)
    assert means.shape == tuple(x.shape) and np.isfinite(means).all()
    way = call(
        backend,
        pair.interpolate,
        x[:2],
        x[2:4],
        5,
        context=None if context is None else context[:2],
    )
    assert way.shape == (5, 2, *shape) and np.isfinite(way).all()


@pytest.mark.parametrize("case", journeys(lambda case: case.variant in ("bits", "vamp-prior")))
@pytest.mark.compiles
def test_twins_give_the_same_densities(both, case, tmp_path):
    pairs = [case.build(backend) for backend in both]
    pairs[0] = both[0].perturbed(pairs[0], 0.1)
    both[0].io.save(tmp_path / "pair", pairs[0])
    pairs[1] = both[1].io.load(tmp_path / "pair", pairs[1])
    assert set(both[0].named(pairs[0])) == set(both[1].named(pairs[1]))
    if case.covers == "SemiAmortized":
        pairs = [pair.pair for pair in pairs]
    x, context = case.rows(both[0], 4)
    with both[0].torch.no_grad():
        z = pairs[0].posterior(x, context).sample()
    found = []
    for backend, pair in zip(both, pairs, strict=True):
        x, context = case.rows(backend, 4)
        terms = [
            pair.posterior(x, context).log_prob(backend.array(z)),
            pair.likelihood(backend.array(z), context).log_prob(x),
        ]
        if case.latent == "z":
            terms.append(pair.prior(context).log_prob(backend.array(z)))
        found.append([backend.numpy(term) for term in terms])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("recipe", ["vae", "stacked_vae", "delta_vae"])
def test_a_decoder_that_starts_from_data_gives_their_means(backend, recipe):
    x = digits("bits")
    build = getattr(backend.load("models"), recipe)
    pair = backend.make(build, (8, 8), init_data=x)
    plain = backend.make(build, (8, 8))
    means = [backend.numpy(mean_of_decoder(backend, p)) for p in (pair, plain)]
    errors = [np.abs(mean - x.mean(0)).mean() for mean in means]
    assert errors[0] < 0.12 and errors[1] > 0.25
    with pytest.raises(ValueError, match=r"init_data must have shape \(N, 8, 8\)"):
        backend.make(build, (8, 8), init_data=x[:, 0])


def mean_of_decoder(backend, pair):
    """The likelihood's mean at the prior's mode."""
    d = pair.prior()
    if hasattr(pair, "decoders"):
        decoder, dim = pair.decoders[0], 100
        return decoder(backend.array(np.zeros(dim))).base_dist.probs
    return pair.likelihood(backend.array(np.zeros(tuple(d.event_shape)))).base_dist.probs
