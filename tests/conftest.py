"""Fixtures: a host in double or single precision, and a guard of the hosts' global settings."""

import os
import time

if "PYTEST_XDIST_WORKER" in os.environ:
    # there are as many workers as cores: threads of one would wait for those of the other
    os.environ["OMP_NUM_THREADS"] = "1"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()

import jax
import numpyro
import numpyro.distributions.distribution as numpyro_distribution
import pyro
import pytest
import torch
from backends import BACKENDS, make_backend

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


def host_globals() -> dict:
    """The settings of the hosts that neither the packages nor a test may leave changed."""
    return {
        "torch default dtype": torch.get_default_dtype(),
        "torch gradients": torch.is_grad_enabled(),
        "torch validation": torch.distributions.Distribution._validate_args,
        "pyro validation": pyro.settings.get("validate_distributions_pyro"),
        "pyro module local parameters": pyro.settings.get("module_local_params"),
        "jax x64": jax.config.jax_enable_x64,
        "jax compilation": jax.config.values["jax_disable_most_optimizations"],
        "numpyro validation": numpyro_distribution.Distribution._validate_args,
        "numpyro effect handlers": len(numpyro.primitives._PYRO_STACK),
    }


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Where JAX compiles for many seconds, a test that runs on NumPyro is a slow one."""
    for item in items:
        on_jax = "numpyro" in item.name.lower() or "both" in item.fixturenames
        if on_jax and (item.get_closest_marker("compiles") or costly(item)):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item):
    """Leave out slow tests that would begin too late, where a time is set."""
    until = os.environ.get("SLOW_TESTS_UNTIL")
    if until and item.get_closest_marker("slow") and time.time() > float(until):
        pytest.skip("out of time: SLOW_TESTS_UNTIL has passed")


def costly(item) -> bool:
    """Whether a test is one of a law over the registry, of an object that costs much to compile."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return getattr(params.get("case"), "cost", 0) > 0


@pytest.fixture(autouse=True)
def hosts_left_as_found():
    pyro.clear_param_store()
    before = host_globals()
    yield
    after = host_globals()
    pyro.clear_param_store()
    assert after == before


@pytest.fixture(params=list(BACKENDS))
def backend(request):
    """Either host, in double precision."""
    with make_backend(request.param).precision(64) as backend:
        yield backend


@pytest.fixture(params=list(BACKENDS))
def backend32(request):
    """Either host, in single precision."""
    with make_backend(request.param).precision(32) as backend:
        yield backend


@pytest.fixture
def both():
    """Both hosts, in double precision."""
    torch_side, jax_side = make_backend("pyro"), make_backend("numpyro")
    with torch_side.precision(64), jax_side.precision(64):
        yield torch_side, jax_side


@pytest.fixture
def jax_backend():
    with make_backend("numpyro").precision(64) as backend:
        yield backend


@pytest.fixture
def torch_backend():
    with make_backend("pyro").precision(64) as backend:
        yield backend


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_are_dropped():
    """Keep the memory of long runs bounded."""
    yield
    jax.clear_caches()
