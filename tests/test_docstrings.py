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
# flows whose inverse is a root: JAX compiles for a second or more an example
COSTLY = "recipes_numerical"


def members(host: str, subpackage: str, costly: bool) -> list:
    return [
        member
        for member in exported(PACKAGES[host], subpackage).values()
        if (inspect.isclass(member) or inspect.isfunction(member))
        and member.__module__.endswith(COSTLY) == costly
    ]


def run_examples(host: str, found: list) -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    for member in found:
        module = importlib.import_module(member.__module__)
        for example in finder.find(member, member.__qualname__, globs=dict(vars(module))):
            with make_backend(host).precision(32):
                runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("host, subpackage", CASES)
def test_examples(host, subpackage):
    run_examples(host, members(host, subpackage, costly=False))


@pytest.mark.slow
@pytest.mark.parametrize("host", BACKENDS)
def test_costly_examples(host):
    found = members(host, "distributions", costly=True)
    assert found
    run_examples(host, found)


@pytest.mark.parametrize("host, subpackage", CASES)
def test_every_public_name_is_explained(host, subpackage):
    for name, member in exported(PACKAGES[host], subpackage).items():
        assert inspect.getdoc(member), name
