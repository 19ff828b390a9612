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
