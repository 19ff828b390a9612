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


@pytest.mark.parametrize("host, subpackage", CASES)
def test_examples(host, subpackage):
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    for member in exported(PACKAGES[host], subpackage).values():
        if not (inspect.isclass(member) or inspect.isfunction(member)):
            continue
        module = importlib.import_module(member.__module__)
        for example in finder.find(member, member.__qualname__, globs=dict(vars(module))):
            with make_backend(host).precision(32):
                runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("host, subpackage", CASES)
def test_every_public_name_is_explained(host, subpackage):
    for name, member in exported(PACKAGES[host], subpackage).items():
        assert inspect.getdoc(member), name
