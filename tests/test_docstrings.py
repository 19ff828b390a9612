"""The examples of the docstrings run and print what they say."""

import doctest
import importlib
import inspect

import pytest
from test_surface import PACKAGES, PUBLIC, exported

CASES = [
    (package, subpackage)
    for package in PACKAGES.values()
    for subpackage in PUBLIC
    if subpackage != "compare"
]


@pytest.mark.parametrize("package, subpackage", CASES)
def test_examples(package, subpackage):
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    for member in exported(package, subpackage).values():
        if not (inspect.isclass(member) or inspect.isfunction(member)):
            continue
        module = importlib.import_module(member.__module__)
        for example in finder.find(member, member.__qualname__, globs=dict(vars(module))):
            runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("package, subpackage", CASES)
def test_every_public_name_is_explained(package, subpackage):
    for name, member in exported(package, subpackage).items():
        assert inspect.getdoc(member), name
