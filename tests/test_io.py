"""Saving and loading: atomic, strict about names and shapes, never unpickling."""

import os
import pickle

import numpy as np
import pytest
import safetensors
import safetensors.numpy


@pytest.fixture(params=["pyro", "numpyro"])
def io_and_flow(request):
    if request.param == "pyro":
        from pyro_deepgen import io
        from pyro_deepgen.distributions import maf

        return io, lambda dim: maf(dim, num_transforms=2)
    import jax

    from numpyro_deepgen import io
    from numpyro_deepgen.distributions import maf

    return io, lambda dim: maf(jax.random.key(0), dim, num_transforms=2)


def test_round_trip_is_a_flat_map(io_and_flow, tmp_path):
    io, build = io_and_flow
    path = tmp_path / "flow.safetensors"
    io.save(path, build(3))
    arrays = safetensors.numpy.load_file(path)
    assert arrays["transforms.0.transforms.0.transform.network.layers.0.weight"].shape == (64, 3)
    assert not any("mask" in name for name in arrays)
    loaded = io.load(path, build(3))
    again = tmp_path / "again.safetensors"
    io.save(again, loaded)
    for name, array in safetensors.numpy.load_file(again).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_other_shapes_are_refused(io_and_flow, tmp_path):
    io, build = io_and_flow
    path = tmp_path / "flow.safetensors"
    io.save(path, build(3))
    with pytest.raises(ValueError, match=r"path must hold .* of shape \(64, 3\) instead of"):
        io.load(path, build(4))


def test_missing_and_unexpected_names_are_named(io_and_flow, tmp_path):
    io, build = io_and_flow
    path = tmp_path / "flow.safetensors"
    io.save(path, build(3))
    arrays = safetensors.numpy.load_file(path)
    name = "transforms.0.transforms.1.transform.network.layers.2.bias"
    arrays["surplus"] = arrays.pop(name)
    safetensors.numpy.save_file(arrays, path)
    with pytest.raises(ValueError) as error:
        io.load(path, build(3))
    assert f"missing ['{name}']" in str(error.value)
    assert "unexpected ['surplus']" in str(error.value)


def test_a_failed_write_leaves_the_old_file(io_and_flow, tmp_path, monkeypatch):
    io, build = io_and_flow
    path = tmp_path / "flow.safetensors"
    io.save(path, build(3))
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        io.save(path, build(4))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["flow.safetensors"]


def test_a_pickle_is_not_loaded(io_and_flow, tmp_path):
    io, build = io_and_flow
    path = tmp_path / "flow.safetensors"
    path.write_bytes(pickle.dumps({"weight": np.ones(3)}))
    with pytest.raises(safetensors.SafetensorError):
        io.load(path, build(3))


def test_a_distribution_is_no_module(io_and_flow, tmp_path):
    io, build = io_and_flow
    with pytest.raises(TypeError, match="module must be"):
        io.save(tmp_path / "flow.safetensors", build(3)())


class GuideFiles:
    """A Gamma posterior of counts, its flow guide saved, loaded and trained on, on one host."""

    def __init__(self, host):
        self.host, self.package = host, __import__(f"{host}_deepgen.infer", fromlist=["fit"])
        self.io = __import__(f"{host}_deepgen.io", fromlist=["load_guide"])
        self.recipe = __import__(f"{host}_deepgen.distributions", fromlist=["realnvp"]).realnvp
        self.primitives = __import__(host)
        if host == "pyro":
            self.primitives.clear_param_store()
            self.primitives.set_rng_seed(0)

    def array(self, values):
        if self.host == "pyro":
            import torch

            return torch.tensor(values)
        import jax.numpy as jnp

        return jnp.array(values)

    def model(self, y):
        sample, dist = self.primitives.sample, self.primitives.distributions
        rate = sample("rate", dist.Gamma(2.0, 1.0))
        scale = sample("scale", dist.HalfNormal(1.0))
        with self.primitives.plate("rows", len(y)):
            sample("y", dist.Normal(rate, scale + 0.5), obs=y)

    def guide(self):
        return self.package.AutoFlow(self.model, self.recipe, init="laplace")

    def fit(self, guide, y, num_steps=5, rate=1e-2):
        key = ()
        if self.host == "numpyro":
            import jax

            key = (jax.random.key(0),)
        options = {"learning_rate": rate, "progress": False, "evaluate_every": 5, "keep": "last"}
        return self.package.fit(*key, self.model, guide, num_steps, args=(y,), **options)

    def params(self, result):
        return (result.params,) if self.host == "numpyro" else ()

    def density(self, guide, params):
        values = {"rate": self.array([1.0, 3.0]), "scale": self.array([0.3, 0.9])}
        found = guide.log_density(*params, values)
        return found.detach().numpy() if self.host == "pyro" else np.asarray(found)

    def loaded(self, path, y):
        guide = self.guide()
        found = self.io.load_guide(path, guide, (y,))
        return guide, (found,) if self.host == "numpyro" else ()


@pytest.mark.parametrize("host", ["pyro", "numpyro"])
@pytest.mark.compiles
def test_a_guide_is_saved_with_its_start_and_trained_on(host, tmp_path):
    files, path = GuideFiles(host), tmp_path / "guide.safetensors"
    y, other = files.array([2.0, 3.0, 2.5]), files.array([4.0, 5.0, 4.5, 5.5])
    guide = files.guide()
    result = files.fit(guide, y)
    files.io.save_guide(path, guide, *files.params(result))
    expected = files.density(guide, files.params(result))
    if host == "pyro":
        files.primitives.clear_param_store()
    # set up on other data, without a start of its own
    loaded, params = files.loaded(path, other)
    np.testing.assert_allclose(files.density(loaded, params), expected, rtol=1e-6)
    assert loaded.init_report is None
    # a step of a rate that is nearly zero: training begins where the file ends
    before = files.density(loaded, params)
    again = files.fit(loaded, other, num_steps=1, rate=1e-5)
    moved = np.abs(files.density(loaded, files.params(again)) - before).max()
    assert 0.0 < moved < 0.05
    assert np.isfinite(again.losses).all()


@pytest.mark.slow
def test_a_guide_goes_from_one_twin_to_the_other(tmp_path):
    found = []
    for host in ("pyro", "numpyro"):
        files, path = GuideFiles(host), tmp_path / "guide.safetensors"
        y = files.array([2.0, 3.0, 2.5])
        if host == "pyro":
            guide = files.guide()
            result = files.fit(guide, y)
            files.io.save_guide(path, guide, *files.params(result))
        found.append(files.density(*files.loaded(path, y)))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("host", ["pyro", "numpyro"])
def test_only_flow_guides_are_saved(host, tmp_path):
    files = GuideFiles(host)
    params = ({},) if host == "numpyro" else ()
    with pytest.raises(TypeError, match="guide must be an AutoFlow"):
        files.io.save_guide(tmp_path / "x", files.model, *params)
    with pytest.raises(ValueError, match="guide must have been called once"):
        files.io.save_guide(tmp_path / "x", files.guide(), *params)
