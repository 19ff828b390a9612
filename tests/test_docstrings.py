"""The examples of the docstrings run and print what they say."""

import doctest
import importlib
import inspect

import pytest
from backends import BACKENDS, make_backend
from test_surface import PACKAGES, PUBLIC, exported

CASES = [
    (host, subpackage) for host in BACKENDS for subpackage in PUBLIC if subpackage != "compare"
]
# JAX compiles for a second or more an example, and guides of Pyro are trained
COSTLY = {("numpyro", name) for name in PUBLIC} | {("pyro", "infer")}
COMPILED = [
    pytest.param(*case, marks=pytest.mark.slow) if case in COSTLY else case for case in CASES
]


def members(host: str, subpackage: str) -> list:
    found = exported(PACKAGES[host], subpackage).values()
    return [member for member in found if inspect.isclass(member) or inspect.isfunction(member)]


def run_examples(host: str, found: list) -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    for member in found:
        module = importlib.import_module(member.__module__)
        for example in finder.find(member, member.__qualname__, globs=dict(vars(module))):
            with make_backend(host).precision(32):
                runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("host, subpackage", COMPILED)
def test_examples(host, subpackage):
    run_examples(host, members(host, subpackage))


@pytest.mark.parametrize("host, subpackage", CASES)
def test_every_public_name_is_explained(host, subpackage):
    for name, member in exported(PACKAGES[host], subpackage).items():
        assert inspect.getdoc(member), name
